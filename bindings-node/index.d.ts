// Outcrop: Amazon Bedrock that really runs, in your own process.

/** Options of calls that may be given up: aborting stops the work within one engine step. */
export interface CallOptions {
  signal?: AbortSignal;
}

/**
 * Any error of Outcrop. `name` is AWS's name for it: `ValidationException`,
 * `ResourceNotFoundException`, `AccessDeniedException`, `ThrottlingException`,
 * `ConflictException`, `ModelNotReadyException`, `ModelTimeoutException`, `ModelErrorException`,
 * `ModelStreamErrorException`, `ServiceQuotaExceededException`, `ServiceUnavailableException`,
 * `DependencyFailedException`, `BadGatewayException`, `ResourceInUseException`,
 * `TooManyTagsException`, `NotImplementedException`, `CancelledException` or
 * `InternalServerException`.
 */
export class OutcropError extends Error {
  /** The id, ARN or path that the error concerns. */
  readonly resource: string | null;
  /** Whether the same call may succeed when it is made again. */
  readonly retryable: boolean;
}

export interface SessionOptions {
  /** The home folder. Default: `$OUTCROP_HOME`, else `~/.outcrop`. */
  home?: string;
  /**
   * Where decoders compute: `"cpu"`, `"cuda"`, `"cuda:1"`, or `"auto"`, which takes the first GPU that
   * can be used and the CPU where there is none; a model's `info` says which and why. A GPU that cannot
   * be used is an error that says why. Default `"auto"`.
   */
  device?: string;
  /** Never reach for the network. Default false. */
  offline?: boolean;
}

/** A catalogue entry. */
export interface CatalogueEntry {
  id: string;
  /** The same as an ARN. */
  arn: string;
  /** Absent where its record is damaged. */
  kind?: "chat" | "embedding" | "rerank";
  description: string;
  /** Whether it can be opened without the network. */
  available: boolean;
  /** Where it is from: `built-in`, a path, or `hf:org/name`; empty where its record is damaged. */
  source: string;
  /** Bytes of its files on this machine, where they are here. */
  bytes?: number;
  /** Bytes of memory that it needs once it is loaded, its KV cache full, where its files are here. */
  memory?: number;
  /** Whether that is within what the machine has left, where the system tells. */
  fits?: boolean;
  /**
   * Why its record in the home cannot be read, where it cannot: importing the model again under
   * this id mends it.
   */
  damaged?: string;
}

/** How far a download is. */
export interface DownloadProgress {
  /** The model, by its id or hub name. */
  model: string;
  /** The file that is arriving. */
  file: string;
  /** Bytes of all files that have arrived, those of earlier attempts included. */
  bytesDone: number;
  /** Bytes of all files; null where the hub does not say every size. */
  bytesTotal: number | null;
}

/** Options of calls that may download. */
export interface DownloadOptions extends CallOptions {
  /** Is told of a download on its way; what it throws ends the call. */
  onProgress?: (progress: DownloadProgress) => void;
}

/** How a model is opened. An option that the model cannot follow is a `ValidationException`. */
export interface ModelOptions extends DownloadOptions {
  /**
   * Most tokens of one sequence of a language model, 2 to the model's own context. Default: the
   * model's own, or what the KV cache holds.
   */
  contextLength?: number;
  /**
   * Tokens that the KV cache of a language model holds for all sequences together. Default:
   * `maxBatch` full contexts, or what the default budget of bytes holds.
   */
  kvTokens?: number;
  /** The same as a number of bytes: a bound of the KV cache's memory. One of the two at most. */
  kvBytes?: number;
  /** Most sequences that a language model runs at once. Default 16. */
  maxBatch?: number;
  /**
   * How an embedding or reranking encoder multiplies: `"f32"`, or `"int8"`, which is faster and
   * smaller, and moves vectors by some thousandths. Default `"f32"`.
   */
  precision?: "f32" | "int8";
  /**
   * How the keys and values of a language model are stored; `"f16"` and `"q8_0"` take less memory
   * and round. Default `"f32"`.
   */
  kvDtype?: "f32" | "f16" | "q8_0";
  /**
   * How a language model guesses tokens ahead where a request does not say. It changes the speed,
   * never the output. Default `"off"`.
   */
  speculation?: "off" | "prompt_lookup" | "draft";
  /**
   * The model that guesses ahead for `"draft"`, by any name that opens it: a small one of the same
   * vocabulary, on this machine.
   */
  draft?: string;
}

export interface RegisterOptions extends DownloadOptions {
  /** Take the place of another declaration under this id. Default false. */
  replace?: boolean;
}

/** What a text must be: equal, or hold a part, or match a regular expression somewhere. */
export type TextMatch = string | { equals: string } | { contains: string } | { regex: string };

/** What a request must be like for a rule: everything that is stated must hold. */
export interface ScriptMatch {
  /** The text of the last message. */
  text?: TextMatch;
  /** The system text. */
  system?: TextMatch;
  /** A tool result of the last message. */
  tool_result?: { name?: string; id?: string; content?: TextMatch; status?: "success" | "error" };
  /** How many of the messages are the user's. */
  turn?: number;
  /** Entries of the request's metadata. */
  tag?: Record<string, TextMatch>;
}

/** The errors that a script can raise. */
export interface ScriptFault {
  /** AWS's name of the error; or `stall`, for a stream that says nothing more. */
  error?: string;
  stall?: true;
  message?: string;
  /** Deltas before it. Without it, an error comes before the stream begins. */
  after_deltas?: number;
  original_status_code?: number;
  original_message?: string;
  resource_name?: string;
}

/** What a rule answers: a text, or all of this. */
export type ScriptAnswer = string | {
  /** A list is streamed as it is, delta by delta. */
  text?: string | string[];
  reasoning?: string | string[];
  /** `input_text` stands for arguments that are no JSON object. */
  tool_uses?: { name: string; input?: object; input_text?: string; id?: string }[];
  stop_reason?: StopReason;
  /** Counts that the script states; the others are counted in words and signs. */
  usage?: {
    input_tokens?: number;
    output_tokens?: number;
    cache_read_input_tokens?: number;
    cache_write_input_tokens?: number;
  };
  /** Before the first event. */
  delay_ms?: number;
  /** Between two deltas. */
  delta_delay_ms?: number;
  fault?: ScriptFault;
};

/** One rule of a script. The first that matches a request answers it. */
export type ScriptRule = { match?: ScriptMatch } & (
  | { answer: ScriptAnswer }
  /** The nth match is answered by the nth; after the last, `then` says. Default `refuse`. */
  | { answers: ScriptAnswer[]; then?: "refuse" | "repeat_last" | "start_over" }
);

/** A model that is declared as data. */
export type ModelSpec =
  | { script: ScriptRule[]; context_length?: number }
  | {
      embeddings: {
        dimensions: number;
        vectors?: { text: TextMatch; vector: number[] }[];
        others?: "hashed" | "refused";
        context_length?: number;
      };
    }
  | { rerank: { query?: TextMatch; text: TextMatch; score: number }[] }
  | {
      /** A server of OpenAI's form, such as vLLM or llama.cpp's. */
      openai: {
        base_url: string;
        model: string;
        api_key?: string;
        api_key_env?: string;
        headers?: Record<string, string>;
        kind?: "chat" | "embedding";
        dimensions?: number;
        context_length?: number;
        /** Longest silence of the server. Default 300000. */
        timeout_ms?: number;
      };
    }
  /** A folder, a `.gguf` file or `hf:org/name`. */
  | { path: string };

export interface ClientConfigOptions {
  /** The region that the client is made for. Default `"us-east-1"`. */
  region?: string;
  /**
   * Milliseconds until a response must begin; the SDK tries again after its `TimeoutError`.
   * Default: no limit.
   */
  requestTimeout?: number;
}

/**
 * A configuration of the AWS SDK's clients. Its members have the SDK's forms; no package of the SDK
 * is needed to name them.
 */
export interface ClientConfig {
  region: string;
  credentials: { accessKeyId: string; secretAccessKey: string };
  requestHandler: {
    metadata: { handlerProtocol: string };
    handle(request: any, options?: any): Promise<{ response: any }>;
    updateHttpClientConfig(key: never, value: never): void;
    httpHandlerConfigs(): object;
    destroy(): void;
  };
  httpAuthSchemes: any[];
  httpAuthSchemeProvider: (parameters: any) => any[];
}

/** How {@link Session.fineTune} trains. */
export interface FineTuneOptions extends CallOptions {
  /** The job's name, and the private model's. */
  name: string;
  /** Data to measure the loss on, in the same forms as the training data. */
  validation?: string | null;
  /** `lora` trains a low-rank adapter, `full` all weights. Default: `lora`, and `full` of an embedding model. */
  method?: "lora" | "full" | null;
  /**
   * What products are computed in: `float32` (default), or `bfloat16` with sums in F32, which AMX multiplies
   * several times as fast.
   */
  precision?: "float32" | "bfloat16" | null;
  /** Times that all examples are seen. Default 3. */
  epochs?: number | null;
  /** Examples of a step. Default 8. */
  batchSize?: number | null;
  /** The highest learning rate. Default 1e-4. */
  learningRate?: number | null;
  /** Steps before it is reached. Default 0. */
  warmupSteps?: number | null;
  /** How it falls then. Default `cosine`. */
  decay?: "cosine" | "linear" | "constant" | null;
  /** Rank of the adapter's matrices. Default 8. */
  loraRank?: number | null;
  /** The adapter's change is multiplied by `loraAlpha / loraRank`. Default 16. */
  loraAlpha?: number | null;
  /** Probability of dropping an element of what goes into the adapter. Default 0. */
  loraDropout?: number | null;
  /** Modules that the adapter changes. Default: all linear ones. */
  targetModules?: string[] | null;
  /** Evaluations without a better validation loss before it stops; the best weights are kept. */
  earlyStoppingPatience?: number | null;
  /** The longest example, in tokens. Default: 2048, or what the model takes. */
  maxTokens?: number | null;
  /** What cosines are divided by where an embedding model is trained. Default 0.05. */
  temperature?: number | null;
  /** Of the order of the examples, the adapter's start and what is dropped. Default 0. */
  seed?: number | null;
  /** Steps between checkpoints. Default: every half a minute. */
  checkpointEvery?: number | null;
  /** A folder or an `s3://` prefix for the tables of metrics. */
  output?: string | null;
}

/** Dollars for a million tokens. */
export interface TokenPrice {
  /** Of those that are read. Default 0. */
  input?: number | null;
  /** Of those that are made. Default 0. */
  output?: number | null;
}

/** Where recorded calls are, and which of them count. */
export interface LogSource {
  /** The folder or `s3://` prefix that invocation logging writes to. */
  uri: string;
  /** Whether the teacher's recorded answers are learned; otherwise it is asked anew. Default false. */
  useResponses?: boolean | null;
  /** Bedrock's `requestMetadataFilters`. Default: all records. */
  filters?: Record<string, unknown> | null;
}

/** How {@link Session.distill} trains. `validation` are the prompts that the models are compared on. */
export interface DistillOptions extends Omit<FineTuneOptions, "temperature"> {
  /** The model that answers: any that chats, a registered remote one included. */
  teacher: string;
  /** The model that is trained: an id, an ARN or a folder. */
  student: string;
  /** A `.jsonl` file of prompts, a folder of them or an `s3://` URI. */
  prompts?: string | null;
  /** Recorded calls, beside the prompts or in their place. */
  invocationLogs?: string | LogSource | null;
  /** Most tokens of an answer. One that this cuts off is not learned. Default 512. */
  maxResponseTokens?: number | null;
  /** What the teacher's tokens cost. Default: nothing. */
  teacherPrice?: TokenPrice | null;
  /** What the student's tokens cost. Default: nothing. */
  studentPrice?: TokenPrice | null;
}

/** How one model did on the prompts held out. */
export interface ModelReport {
  /** The model. */
  model: string;
  /** Its weights; null where it is not a model of this machine's files. */
  parameters: number | null;
  /** Share of the prompts that it answered with the very text of the reference. */
  score: number;
  /** Prompts that it answered. */
  answered: number;
  /** Tokens a second of one answer, in the mean, 16 being made at a time; null for recorded answers. */
  tokensPerSecond: number | null;
  /** Tokens that it read and made. */
  usage: Usage;
  /** Dollars that these tokens cost. */
  cost: number;
}

/** Teacher, student before and student after, on prompts that the student has not learned from. */
export interface DistillationReport {
  /** Prompts that the teacher was asked to be learned from. */
  prompts: number;
  /** Answers that were learned. */
  examples: number;
  /** Why others were not. */
  leftOut: { failed: number; cut: number; unfit: number; otherRecords: number };
  /** Prompts that the models are compared on. */
  heldOut: number;
  /** What an answer is compared with: the right answers that came with the prompts, or the teacher's. */
  reference: "completion" | "teacher";
  teacher: ModelReport;
  studentBefore: ModelReport;
  student: ModelReport;
}

/** How {@link Session.trainTokenizer} learns. */
export interface TokenizerOptions extends CallOptions {
  /** Words of the vocabulary, the 256 bytes and the special tokens included. Default 4096. */
  vocabSize?: number | null;
  /** Tokens that stand for themselves. Default: ChatML's three. */
  specialTokens?: string[] | null;
  /** The one of them that ends an answer. Default: the last. */
  eosToken?: string | null;
  /** The chat template, in Jinja. Default: ChatML where its tokens are there. */
  chatTemplate?: string | null;
  /** Members of a new model's `config.json`, such as `hidden_size`. Default: no model. */
  model?: Record<string, unknown> | null;
  /** Of the new model's weights. Default 0. */
  seed?: number | null;
}

/** What {@link Session.trainTokenizer} has made. */
export interface TrainedTokenizer {
  /** The folder: of a tokenizer, or of a new model with it. */
  folder: string;
  /** Words of the vocabulary: fewer than asked for where the text holds no more pairs. */
  vocabSize: number;
  /** Bytes of the text that it was learned from. */
  bytes: number;
  /** Tokens that this text becomes. */
  tokens: number;
  /** Weights of the new model; 0 where none was asked for. */
  parameters: number;
}

/** How far a training job is. */
export interface TrainingStatus {
  /** What it does. */
  status: "InProgress" | "Completed" | "Failed" | "Stopping" | "Stopped";
  /** Why it has failed. */
  failure: string | null;
  /** Steps made. */
  step: number;
  /** All steps; 0 before training begins. */
  steps: number;
  /** The last step's loss. */
  loss: number | null;
  /** The ARN of the model that it has made. */
  modelArn: string | null;
  /** Of a distillation, whose answers are asked for: `teacher`, `student-before` or `student`. */
  asked: string | null;
  /** How many of them are there. */
  answered: number;
  /** Of how many. */
  prompts: number;
}

/** What a step of training was. */
export interface TrainingStep {
  /** The step's number, from 1. */
  step: number;
  /** The epoch that it is of, from 1. */
  epoch: number;
  /** Mean loss of the tokens that it learned, before it. */
  loss: number;
  /** The learning rate. */
  learningRate: number;
  /** The norm of its gradients, before they were clipped. */
  gradientNorm: number;
  /** Tokens that went through the model. */
  tokens: number;
  /** Mean loss of the validation examples after it, where they were evaluated. */
  validationLoss: number | null;
}

/** How {@link TrainingJob.wait} waits. */
export interface TrainingWaitOptions extends CallOptions {
  /** Told how far the job is, a few times a second. */
  onProgress?: (progress: TrainingProgress) => void;
}

/** How far a training job is, as whoever waits for it is told. */
export interface TrainingProgress extends TrainingStatus {
  /** Seconds that its training has left; null before a step was seen. */
  secondsLeft: number | null;
}

/** What happened to a training job since the event before. */
export interface TrainingEvent extends TrainingProgress {
  /** The steps that were made. */
  newSteps: TrainingStep[];
}

/**
 * A job that trains a model; {@link Session.fineTune} starts one. It goes on in the background, whoever
 * watches it, in this process or another; after a kill, in the next session of its home.
 */
export class TrainingJob {
  private constructor();
  /** Its id. */
  readonly id: string;
  /** Its ARN. */
  readonly arn: string;
  /** Its name, which is the model's too. */
  readonly name: string;
  /** How far it is now. */
  status(): Promise<TrainingStatus>;
  /** Its steps so far. */
  metrics(): Promise<TrainingStep[]>;
  /** What happens to it, until it ends: its steps as they are made, and each change of its status. */
  events(options?: CallOptions): AsyncGenerator<TrainingEvent, void>;
  /** Of a distillation that has ended, how teacher and student compare; else null. */
  report(): Promise<DistillationReport | null>;
  /**
   * Waits for its end. An abort ends the waiting, not the job.
   *
   * @throws OutcropError `ModelErrorException` where it has failed; the message says why.
   */
  wait(options?: TrainingWaitOptions): Promise<TrainingJob>;
  /**
   * The private custom model that it has made, opened.
   *
   * @throws OutcropError `ValidationException` where it has made none, or none yet.
   */
  model(options?: ModelOptions): Promise<Model>;
  /**
   * Stops it: it ends after its step, and makes no model.
   *
   * @throws OutcropError `ConflictException` where it has ended.
   */
  stop(): Promise<void>;
}

export interface KnowledgeBaseOptions extends CallOptions {
  /** The model of the vectors. Default `outcrop.minilm-embed-v1`. */
  embeddingModel?: string;
  /** Sizes of passages, in tokens of the embedding model. */
  chunking?: { maxTokens?: number; overlapTokens?: number };
  description?: string;
}

/**
 * An open home: a catalogue of models, and knowledge bases. Several processes and worker threads
 * may open one home at the same time.
 *
 * @throws OutcropError `ValidationException` for a device that cannot be used.
 */
export class Session {
  constructor(options?: SessionOptions);
  /** The home folder. */
  readonly home: string;
  /** The device that decoders run on: `cpu`, or `cuda:0`. */
  readonly device: string;
  /** Whether `close` was called. */
  readonly closed: boolean;
  /**
   * Opens a model: a catalogue id, an ARN, a Hugging Face folder, a `.gguf` file or
   * `hf:org/name[@revision]`; by default `outcrop.tiny-v1`, the small language model that comes with
   * Outcrop. It is loaded once a session, and shared from then on.
   *
   * @throws OutcropError `ResourceNotFoundException` for an unknown id or path;
   * `ModelErrorException` for damaged files or an unknown architecture; `ConflictException` where
   * it is open in this session with another value of an option. Options that are not given agree
   * with whatever it was opened with.
   */
  model(id?: string, options?: ModelOptions): Promise<Model>;
  /** The catalogue. A record that cannot be read is listed as damaged. */
  models(): Promise<CatalogueEntry[]>;
  /** Registers a folder, a GGUF file or `hf:org/name` under an id of one's own. */
  importModel(source: string, id: string, options?: DownloadOptions): Promise<CatalogueEntry>;
  /**
   * Registers a model that is declared as data under an id of one's own, in the home. The same
   * declaration again changes nothing; another one is a conflict unless `replace` is true.
   *
   * @throws OutcropError `ConflictException` where the id is taken; `ValidationException` that names
   * the place in the declaration.
   */
  registerModel(id: string, spec: ModelSpec, options?: RegisterOptions): Promise<CatalogueEntry>;
  /** Takes a registered or imported model out of the home. Its own files stay. */
  unregisterModel(id: string): Promise<void>;
  /**
   * Lets a name of AWS (a model id, the id of an inference profile, or an ARN) stand for the model
   * that `target` opens, in the home; `null` takes the alias away. An alias of a model id holds for
   * its ARNs in every region and for its inference profiles. It is never applied in silence:
   * `model.info.id` is the model that runs.
   *
   * @throws OutcropError `ConflictException` where a model has that name;
   * `ResourceNotFoundException` for a target that is not known; `ValidationException` for a name of
   * the wrong form, or aliases that would go in a circle.
   */
  alias(name: string, target: string | null): Promise<void>;
  /** The aliases of the home: what each name stands for. */
  aliases(): Promise<Record<string, string>>;
  /**
   * What a client of the AWS SDK for JavaScript v3 is made with, so that this session answers it:
   * `new BedrockRuntimeClient(session.clientConfig())`. The SDK's own parsing, retries, paginators
   * and exceptions; no socket and no credentials. For the clients of `bedrock`, `bedrock-runtime`,
   * `bedrock-agent` and `bedrock-agent-runtime`.
   */
  clientConfig(options?: ClientConfigOptions): ClientConfig;
  /**
   * `fetch` for libraries that speak HTTP themselves, such as the Vercel AI SDK:
   * `createAmazonBedrock({ fetch: session.fetch, … })`. This session answers every request,
   * whatever its host; needs no `this`.
   */
  readonly fetch: (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
  /**
   * Starts training a model on one's own data, in the background. `trainingData` is a `.jsonl` file, a
   * folder of them or an `s3://` URI; a line is `{"prompt", "completion"}`, `{"messages"}` in Converse's
   * form, or `{"input"}`; of an embedding model `{"anchor", "positive"}`, with `negative` or without. Every line is read, and the memory is estimated, before the job starts. The
   * same data, options and seed give the same weights, to the byte.
   *
   * @throws OutcropError `ValidationException` for bad lines, each with its number, an option that cannot
   * be followed, or too little memory; `ConflictException` where the name is taken.
   */
  fineTune(baseModel: string, trainingData: string, options: FineTuneOptions): Promise<TrainingJob>;
  /**
   * Starts training a student on a teacher's answers, in the background. Each answer is kept as soon as
   * it is there: after a kill only what was not answered is asked. A line of the prompts is `{"prompt"}` or
   * `{"messages"}`; with a `completion`, or a last turn of the assistant, it tells the right answer,
   * which is not learned. The job's report compares teacher and student.
   *
   * @throws OutcropError As {@link Session.fineTune}.
   */
  distill(options: DistillOptions): Promise<TrainingJob>;
  /**
   * Learns a byte-level BPE tokenizer from one's own text, and writes its folder; with `model`, the folder
   * is a new Llama-shaped model of random weights, which {@link Session.fineTune} trains. `trainingData` is
   * a `.txt`, `.md` or `.jsonl` file, a folder of them or an `s3://` URI; of JSON lines every text but the
   * roles is read. The same text and options give the same bytes.
   *
   * @throws OutcropError `ValidationException` for data that cannot be read or an option that cannot be
   * followed; `ConflictException` where the folder holds a model already.
   */
  trainTokenizer(
    trainingData: string, folder: string, options?: TokenizerOptions,
  ): Promise<TrainedTokenizer>;
  /**
   * The training job by its name, id or ARN, whichever process has started it.
   *
   * @throws OutcropError `ResourceNotFoundException` where there is none.
   */
  trainingJob(name: string): Promise<TrainingJob>;
  /**
   * Maps a bucket of S3 to a folder of this machine, in the home: `s3://name/key` is then the file
   * `key` of that folder, in every operation that takes an S3 URI. The folder is created where it is
   * not there; `null` takes the mapping away, and the folder stays.
   *
   * @throws OutcropError `ValidationException` for a name that is no bucket's, or a path that is no
   * folder; `ResourceNotFoundException` where there is no mapping to take away.
   */
  mapBucket(name: string, folder: string | null): Promise<void>;
  /**
   * Lets action groups call a host (`bank.example`, `localhost:8080`) as long as this session is
   * open; no other is called. `headers` are sent with every request, and are in no log, no trace and
   * no file. `private`: its name may lead to this machine or a private network.
   */
  allowHost(
    host: string,
    options?: { allow?: boolean; headers?: Record<string, string>; private?: boolean },
  ): Promise<void>;
  /**
   * Lets action groups start a command, the program and all its arguments, as their MCP server, as
   * long as this session is open; no other is started, and each start is a decision in the log. `env`
   * is what it is given beside `PATH`, `HOME` and the like, and is in no log, no trace and no file.
   * `allow: false` forbids it again, and ends what was started.
   */
  allowCommand(
    command: string[],
    options?: { allow?: boolean; env?: Record<string, string>; cwd?: string },
  ): Promise<void>;
  /**
   * Maps a Lambda function that action groups name as their executor: to a function of this process,
   * as long as this session is open; to the URL that is posted the events, in the home; `null` takes
   * the mapping away.
   */
  mapLambda(
    arn: string,
    target: ((event: any, context: any) => unknown) | string | null,
  ): Promise<void>;
  /** The buckets that are mapped, and the folder of each. */
  buckets(): Promise<Record<string, string>>;
  /**
   * Creates a knowledge base.
   *
   * @throws OutcropError `ConflictException` when the name is taken.
   */
  createKnowledgeBase(name: string, options?: KnowledgeBaseOptions): Promise<KnowledgeBase>;
  /** Opens a knowledge base by name or id. */
  knowledgeBase(nameOrId: string): Promise<KnowledgeBase>;
  /** The knowledge bases of the home. */
  knowledgeBases(): Promise<KnowledgeBaseInfo[]>;
  /** Deletes a knowledge base with its vectors; the documents of its sources stay. */
  deleteKnowledgeBase(nameOrId: string): Promise<void>;
  /**
   * Creates an agent. The same one again changes nothing; another one of its name takes its place
   * where `replace` is true.
   *
   * @throws OutcropError `ValidationException` for a wrong argument or schema; `ConflictException`
   * where the name is taken; `ResourceNotFoundException` for a knowledge base or a collaborator that
   * is not there.
   */
  createAgent(name: string, options: AgentOptions): Promise<Agent>;
  /**
   * The agent by its name, id or ARN. `actionGroups` are those of its tools that run in this
   * process, as are those of `collaborators`: a turn is paused for the others.
   */
  agent(
    nameOrId: string,
    options?: CallOptions & { actionGroups?: ActionGroup[]; collaborators?: Agent[] },
  ): Promise<Agent>;
  /** What is known of the agents of the home, the oldest first. */
  agents(): Promise<AgentInfo[]>;
  /** Deletes an agent. What happened in its sessions stays recorded. */
  deleteAgent(nameOrId: string): Promise<void>;
  /**
   * Puts a Cedar policy over the calls of agents, in place of any of its name. It holds from the next
   * call on that any agent asks to make, in every process. Each call is a request to Cedar: the agent
   * is the principal, `Action::"group.function"`, `Action::"Retrieve"` or `Action::"Delegate"` the
   * action, the action group, the knowledge base or the collaborator the resource; the context has
   * `arguments`, `origins`, `tainted`, `read`, `session` and `approved`. A home begins with the policy
   * `default`, which permits each agent what it has.
   *
   * @param text One or several policies, in Cedar's language.
   * @throws OutcropError `ValidationException` for what is no policy or cannot be said of the agents
   * that are there, with the line and the column.
   */
  putPolicy(
    name: string, text: string, options?: CallOptions & { agent?: string | Agent },
  ): Promise<Policy>;
  /** The policies over agents' calls: those put, and those that agents were made with. */
  listPolicies(): Promise<Policy[]>;
  /** Deletes a policy. Without `default`, nothing is permitted but what others permit. */
  deletePolicy(name: string): Promise<void>;
  /** Ends the session and gives the memory of its models back. */
  close(): void;
  [Symbol.dispose](): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What is known of a loaded model. */
export interface ModelInfo {
  id: string;
  kind: "chat" | "embedding" | "rerank";
  /**
   * Hugging Face's `model_type`; `quote` for the quoting reader, `scripted` and `openai` for models
   * that are declared as data.
   */
  architecture: string;
  parameters: number;
  /** Storage of most weights, such as `F32` or `Q4_K`. */
  quantization: string;
  /** Most tokens of one sequence; 0 where a remote model does not tell. */
  contextLength: number;
  dimensions?: number;
  vocabulary?: number;
  /** Where it runs: `cpu`, `cuda:0`, or `remote`. */
  device: string;
  /** Why it runs there, where that was not what the session asked for by name. */
  deviceReason?: string;
  /** Bytes of the weights. */
  bytes: number;
}

/** A block of a message, in the form of Bedrock's Converse: an object with one member. */
export type ContentBlock =
  | { text: string }
  | { toolUse: ToolUse }
  | { toolResult: { toolUseId: string; content: object[]; status?: "success" | "error" } }
  | { searchResult: { source: string; title: string; content: { text: string }[]; citations?: object } }
  | { document: { name: string; format?: string; source: { text: string } } }
  | { citationsContent: { content: { text: string }[]; citations: object[] } }
  | { reasoningContent: { reasoningText: { text: string; signature?: string } } };

export interface ToolUse {
  toolUseId: string;
  name: string;
  input: unknown;
}

/** A message; `content` may be a string, for one block of text. */
export interface Message {
  role: "user" | "assistant";
  content: string | (ContentBlock | string)[];
}

/**
 * A message of chat completions, which is taken too: a first `system` message, `tool_calls` of the
 * assistant, and a tool's result.
 */
export type ChatCompletionMessage =
  | { role: "system"; content: string }
  | { role: "user"; content: string | { type: "text"; text: string }[] }
  | { role: "assistant"; content?: string | null; tool_calls?: object[] }
  | { role: "tool"; tool_call_id: string; content: string };

/** A conversation: a text, or messages. */
export type Messages = string | (Message | ChatCompletionMessage)[];

/** A tool: plain, or in Converse's form under `toolSpec`, or in OpenAI's under `function`. */
export type Tool =
  | { name: string; description?: string; inputSchema: object }
  | { toolSpec: { name: string; description?: string; inputSchema: { json: object } } }
  | { type: "function"; function: { name: string; description?: string; parameters: object } };

/** Lengths, sampling and log-probabilities. */
export interface SamplingOptions extends CallOptions {
  /** Most tokens to generate. Default 512, or what the context still holds if that is less. */
  maxTokens?: number;
  /** Softmax temperature, 0 or more; 0 takes the likeliest token. Default 0. */
  temperature?: number;
  /** Nucleus sampling, above 0 and at most 1. Default 1. */
  topP?: number;
  /** Only the k likeliest tokens. Default: all. */
  topK?: number;
  /** Only tokens at least this fraction as likely as the likeliest, 0 to 1. Default 0. */
  minP?: number;
  /** Above 0; 1 changes nothing. Default 1. */
  repetitionPenalty?: number;
  /** Texts that end the generation; they are not part of the output. */
  stop?: string | string[];
  /** Seed of the sampler. Default 0: the same input gives the same output. */
  seed?: number | bigint;
  /**
   * Log-probabilities of each generated token and of so many of the likeliest ones beside it, 0 to
   * 20. Default: none.
   */
  logprobs?: number;
}

/**
 * Lengths, sampling, the form of the output and the place in the queue. At most one of
 * `responseSchema`, `regex`, `lark` and `quote` may be given; the model cannot leave it, and an
 * output that `maxTokens` cuts off says so in its `stopReason`.
 */
export interface GenerateOptions extends SamplingOptions {
  /** A JSON schema (draft 2020-12): the output is JSON that it accepts, and `parsed` its value. */
  responseSchema?: object;
  /**
   * A regular expression that matches the whole output, without look-around and back references. In
   * a string, `\d` and `\w` are Unicode's; in a RegExp they are JavaScript's.
   */
  regex?: string | RegExp;
  /** A Lark grammar; the output is of its rule `start`. */
  lark?: string;
  /** Texts; the output is one verbatim span of one of them. */
  quote?: string | string[];
  /** Name of a loaded LoRA adapter. Default: the base model. */
  adapter?: string;
  /**
   * How tokens are guessed ahead. It changes the speed, never the output. Default: as the model was
   * opened.
   */
  speculation?: "off" | "prompt_lookup" | "draft";
  /** Who asks; callers take turns, however many requests each has waiting. */
  caller?: string;
  /** Higher runs first. Default 0. */
  priority?: number;
  /** Milliseconds from the call after which it is a `ModelTimeoutException`. Default: none. */
  deadlineMs?: number;
}

export interface ConverseOptions extends GenerateOptions {
  system?: string;
  tools?: Tool[];
  toolChoice?: "auto" | "any" | string | object;
  /** Sets `enable_thinking` of chat templates that know it. */
  reasoning?: boolean;
  /** Further variables of the chat template, such as `date_string`. */
  templateVariables?: Record<string, unknown>;
  /** Tags of one's own, for records and for scripted models; no other model sees them. */
  requestMetadata?: Record<string, string>;
}

/** Tokens that were really read and made. */
export interface Usage {
  inputTokens: number;
  outputTokens: number;
  totalTokens: number;
  /** Of the prompt's tokens, those whose keys and values were found in the prefix cache. */
  cacheReadInputTokens: number;
  /** Of the prompt's tokens, those that this call computed and left in the prefix cache. */
  cacheWriteInputTokens: number;
}

/** A token with its log-probability. */
export interface TokenLogprob {
  id: number;
  /** The token's text on its own; bytes that are no whole character show as U+FFFD. */
  text: string;
  /**
   * The natural logarithm of its probability by the model's own softmax: before temperature,
   * penalties, filters and formats.
   */
  logprob: number;
}

/** A generated token with its log-probability, and the likeliest tokens in its place. */
export interface ChosenLogprob extends TokenLogprob {
  /** The likeliest tokens, the likeliest first; as many as `logprobs` asked for. */
  top: TokenLogprob[];
}

export type StopReason =
  | "end_turn"
  | "tool_use"
  | "max_tokens"
  | "stop_sequence"
  | "guardrail_intervened"
  | "content_filtered"
  | "malformed_model_output"
  | "malformed_tool_use"
  | "model_context_window_exceeded";

/** The answer of `converse`. */
export class Reply {
  readonly text: string;
  readonly content: ContentBlock[];
  readonly toolUses: ToolUse[];
  readonly stopReason: StopReason;
  readonly usage: Usage;
  /** Wall time of the call, in milliseconds. */
  readonly latencyMs: number;
  /** One entry a generated token, where `logprobs` asked for them. */
  readonly logprobs?: ChosenLogprob[];
  /**
   * The value of the JSON that `responseSchema` asked for.
   *
   * @throws OutcropError `ValidationException` where no schema was asked for, or where `maxTokens`
   * or a stop sequence cut the text off before its end.
   */
  readonly parsed: any;
  /** Null: this version computes no cost. */
  readonly cost: null;
}

/** The answer of `generate`. */
export class Completion {
  readonly text: string;
  /** The generated token ids, an end-of-turn token included. */
  readonly ids: number[];
  readonly stopReason: StopReason;
  readonly usage: Usage;
  /** Wall time of the call, in milliseconds. */
  readonly latencyMs: number;
  /** One entry a generated token, where `logprobs` asked for them. */
  readonly logprobs?: ChosenLogprob[];
  /**
   * The value of the JSON that `responseSchema` asked for.
   *
   * @throws OutcropError `ValidationException` where no schema was asked for, or where `maxTokens`
   * or a stop sequence cut the text off before its end.
   */
  readonly parsed: any;
}

/**
 * Text deltas of a running answer: whole characters only. Leaving a `for await` loop early, or
 * `close()`, stops the engine within one step.
 */
export class TextStream<Result = Reply> implements AsyncIterableIterator<string> {
  /** The whole answer; null until the stream has ended. */
  readonly reply: Result | null;
  next(): Promise<IteratorResult<string>>;
  return(): Promise<IteratorResult<string>>;
  close(): void;
  [Symbol.asyncIterator](): this;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * A loaded model. A call that the model's kind does not serve, such as `embed` of a decoder, is a
 * `ValidationException`. Concurrent calls share one continuous batch.
 */
export class Model {
  readonly id: string;
  readonly info: ModelInfo;
  /**
   * Answers a conversation.
   *
   * @throws OutcropError `ValidationException` when the prompt is longer than the context, with
   * both numbers; `ThrottlingException` when the engine's queue is full.
   */
  converse(messages: Messages, options?: ConverseOptions): Promise<Reply>;
  /** The same as a stream of text. */
  stream(messages: Messages, options?: ConverseOptions): TextStream<Reply>;
  /** Continues a prompt, text or token ids, without a chat template. */
  generate(prompt: string | number[] | Uint32Array, options?: GenerateOptions): Promise<Completion>;
  /** The same as a stream of text. */
  generateStream(
    prompt: string | number[] | Uint32Array,
    options?: GenerateOptions,
  ): TextStream<Completion>;
  /**
   * Vectors of texts, one `Float32Array(dimensions)` a text, views of one buffer. The bytes do not
   * depend on the batch.
   *
   * @throws OutcropError `ValidationException` for a text longer than the model reads, with both
   * numbers, unless `truncate` is set.
   */
  embed(
    texts: string | string[],
    options?: CallOptions & {
      /** Scale vectors to length 1. Default true. */
      normalize?: boolean;
      /** Keep the beginning of a text that is too long. Default false. */
      truncate?: boolean;
      /**
       * Which of the model's own prompts (instructions, prefixes) goes before each text: `"query"`
       * for texts that look for others, `"document"` for texts that are looked for, or another that
       * the model has. Default: the model's default, which most do not have.
       */
      prompt?: string;
    },
  ): Promise<Float32Array[]>;
  /** Scores of texts for a query, in order: the model's raw output, higher is more relevant. */
  rerank(query: string, texts: string[], options?: CallOptions): Promise<Float32Array>;
  /** Token ids of a text. */
  tokenize(text: string, options?: { addSpecialTokens?: boolean }): Promise<Uint32Array>;
  /** Text of token ids, special tokens left out unless `skipSpecialTokens` is false. */
  detokenize(
    ids: number[] | Uint32Array,
    options?: { skipSpecialTokens?: boolean },
  ): Promise<string>;
  /** The prompt that the model's chat template makes of messages. */
  chatPrompt(
    messages: Messages,
    options?: {
      system?: string;
      tools?: Tool[];
      reasoning?: boolean;
      templateVariables?: Record<string, unknown>;
      addGenerationPrompt?: boolean;
    },
  ): Promise<string>;
  /** Logits after each token: one `Float32Array(vocabulary)` a token, views of one buffer. */
  logits(ids: number[] | Uint32Array, options?: AdapterOptions): Promise<Float32Array[]>;
  /**
   * Log-probabilities (natural) of each token of a continuation after the prompt and the
   * continuation's tokens before it. Two texts are tokenised as one.
   */
  score(
    prompt: string | number[] | Uint32Array,
    continuation: string | number[] | Uint32Array,
    options?: AdapterOptions,
  ): Promise<Float32Array>;
  /**
   * How well the model predicts texts, each and together.
   *
   * @throws OutcropError `ValidationException` for a text of fewer than two tokens, or one that is
   * longer than the window where no stride is given.
   */
  perplexity(texts: string | string[], options?: PerplexityOptions): Promise<Perplexity>;
  /** The loaded LoRA adapters, by name. */
  readonly adapters: AdapterInfo[];
  /** What the engine of a language model is doing, and what it counted since it was loaded. */
  readonly stats: EngineStatistics;
  /**
   * Computes the keys and values of a prompt's beginning and holds them in the cache. Prompts of the
   * base model that begin with the same tokens start behind them, until the prefix is released.
   * Known prefixes are found without it too; holding one keeps others from driving it out.
   * A text gets the special tokens that the tokenizer adds.
   *
   * @throws OutcropError `ValidationException` for a prompt that is empty or does not fit the
   * context; `ServiceQuotaExceededException` where the KV budget has no room for it.
   */
  prefix(prompt: string | number[] | Uint32Array, options?: CallOptions): Promise<Prefix>;
  /**
   * Holds the prefix that `Prefix.save` wrote to `path`, without computing it.
   *
   * @throws OutcropError `ResourceNotFoundException` where there is no such file;
   * `ConflictException` where it is of another model or another `kvDtype`;
   * `InternalServerException` where it is damaged.
   */
  loadPrefix(path: string, options?: CallOptions): Promise<Prefix>;
  /**
   * Loads a PEFT LoRA adapter (a folder of `adapter_config.json` and `adapter_model.safetensors`)
   * beside the model, which it leaves as it is. Requests choose it by `adapter: name`; those of
   * several adapters share a batch. An adapter of that name is replaced for requests to come.
   *
   * @throws OutcropError `ResourceNotFoundException` where nothing is at `path`;
   * `ModelErrorException` for files that are damaged, not supported or do not fit this model.
   */
  loadAdapter(name: string, path: string, options?: CallOptions): Promise<AdapterInfo>;
  /** Lets go of an adapter; requests that run with it end with it. */
  unloadAdapter(name: string): Promise<void>;
  /**
   * Measures how fast the model is on this machine; it takes a while. Of a language model: tokens a
   * second of reading a prompt of 512, of decoding after a prompt of 128, and of 8 sequences
   * decoding at once; of another, texts a second at 32, 128 and 256 tokens; of both, how long it
   * took to load. Each is the median of three runs, without speculation.
   */
  bench(options?: CallOptions): Promise<Measurement[]>;
}

/**
 * The beginning of prompts that a model's cache holds. Its pages stay in the KV cache until
 * `release`, until nothing refers to it, or until the session is closed.
 */
export class Prefix {
  private constructor();
  /** Its token ids. */
  readonly ids: Uint32Array;
  /**
   * A prefix that goes on from this one, which stays as it is. What both have is shared in the
   * cache; a page in which they part is copied. `more` is token ids, or a text, which is tokenised
   * by itself and without special tokens; nothing by default.
   *
   * @throws OutcropError `ValidationException` where this one was released, or both together do
   * not fit the context; `ServiceQuotaExceededException` where the KV budget has no room.
   */
  fork(more?: string | number[] | Uint32Array, options?: CallOptions): Promise<Prefix>;
  /**
   * Writes its tokens, keys and values to a file, for `Model.loadPrefix`: bound to the model's
   * weights and `kvDtype`, and with a checksum. A file that is there is replaced, whole or not at
   * all.
   */
  save(path: string, options?: CallOptions): Promise<void>;
  /** Gives its pages back. A second time does nothing. */
  release(): void;
}

/** Options of calls that an adapter changes. */
export interface AdapterOptions extends CallOptions {
  /** Name of a loaded LoRA adapter. Default: the base model. */
  adapter?: string;
}

/** The state of an engine between two steps, and what it counted since it was loaded. */
export interface EngineStatistics {
  /** Requests that are being computed. */
  running: number;
  /** Requests that wait for their turn. */
  waiting: number;
  /** Tokens that a page of the KV cache holds. */
  pageTokens: number;
  /** Pages of the KV cache. */
  pages: number;
  /** Pages that hold nothing. */
  freePages: number;
  /** Pages that no request owns and that keep a known prefix. */
  cachedPages: number;
  /** Pages of prefixes that are held. */
  pinnedPages: number;
  /** Steps of the model so far. */
  steps: number;
  /** Tokens of prompts that were found in the prefix cache, of the requests that have ended. */
  cacheReadTokens: number;
  /** Tokens that were guessed ahead. */
  guessedTokens: number;
  /** Guessed tokens that the model agreed with. */
  acceptedTokens: number;
  /** How often a request had to give its pages up, to compute them again later. */
  preemptions: number;
}

/** What is known of a loaded LoRA adapter. */
export interface AdapterInfo {
  /** The name that requests call it by. */
  name: string;
  /** The projections that it changes in some layer, such as `self_attn.q_proj`. */
  modules: string[];
  /** The ranks of its matrices, ascending. */
  ranks: number[];
  /** Bytes of its matrices in memory. */
  bytes: number;
}

/** One thing that was measured. */
export interface Measurement {
  model: string;
  measure: "load" | "prefill" | "decode" | "embed" | "rerank";
  /** The median of the runs. */
  value: number;
  unit: "seconds" | "tokens/s" | "texts/s";
  /** Sequences or texts at once. */
  sequences: number;
  /** Tokens that stood in each sequence before what was timed. */
  context: number;
  /** Tokens of each sequence or text in what was timed. */
  tokens: number;
  /** The value of each run. */
  runs: number[];
}

/** How perplexity is taken. */
export interface PerplexityOptions extends AdapterOptions {
  /**
   * Most tokens that the model sees to predict one, that token included; 2 to the context's length.
   * Default: the context's length.
   */
  window?: number;
  /**
   * Tokens by which the window moves on over a text that is longer than it, 1 to `window`. Default:
   * such a text is refused.
   */
  stride?: number;
}

/** How well a model predicts one text, or several together. */
export interface TextPerplexity {
  /** Tokens that were predicted: all but the first of each text. */
  tokens: number;
  /** Sum over them of minus the natural logarithm of their probability. */
  nll: number;
  /** The exponential of `nll / tokens`. */
  perplexity: number;
}

/** How well a model predicts texts. */
export interface Perplexity {
  /** Each text's, in order. */
  texts: TextPerplexity[];
  /** All texts' tokens together, so that each token weighs the same. */
  overall: TextPerplexity;
}

/** A document for direct ingestion. */
export interface Document {
  text: string;
  /** Default: made from the text. */
  id?: string;
  metadata?: Record<string, unknown>;
  /** A vector of one's own, of the knowledge base's dimensions. */
  embedding?: number[] | Float32Array;
}

/** Where a passage stands in its document. */
export interface Location {
  /** The document's path inside its source, or the id that it was added with. */
  document: string;
  uri: string;
  /** First page, from 1, where the format has pages. */
  page?: number;
  lastPage?: number;
  /** First character (code point) in the document's parsed text. */
  start: number;
  /** One past the last character. */
  end: number;
}

/** An attribute of documents' metadata, and what it is compared with. */
export interface FilterAttribute {
  /** The attribute's name. */
  key: string;
  /** The value: a list for `in` and `notIn`. */
  value: string | number | boolean | (string | number | boolean)[];
}

/**
 * What the metadata of documents must fulfil, in Bedrock's form: one operator. An attribute that a
 * document has not passes `notEquals` only.
 */
export type RetrievalFilter =
  | { equals: FilterAttribute }
  | { notEquals: FilterAttribute }
  | { greaterThan: FilterAttribute }
  | { greaterThanOrEquals: FilterAttribute }
  | { lessThan: FilterAttribute }
  | { lessThanOrEquals: FilterAttribute }
  | { in: FilterAttribute }
  | { notIn: FilterAttribute }
  | { startsWith: FilterAttribute }
  | { stringContains: FilterAttribute }
  | { listContains: FilterAttribute }
  | { andAll: RetrievalFilter[] }
  | { orAll: RetrievalFilter[] };

/** A stored piece of a document. */
export interface Passage {
  id: string;
  text: string;
  /** Cosine of the query's and the passage's vectors. */
  score: number;
  location: Location;
  metadata: Record<string, unknown>;
}

/** A part of an answer and what it rests on. */
export interface Citation {
  /** Code points of the answer's text. */
  span: { start: number; end: number };
  /** The cited words, where the model quoted. */
  quotes: string[];
  /** The passages, each read back from the store and found unchanged. */
  passages: Passage[];
}

/** An answer from documents. */
export interface Answer {
  text: string;
  /** False: the documents do not answer, and the text says so. */
  answered: boolean;
  citations: Citation[];
  /** What the model was given, best first. */
  passages: Passage[];
  model: string;
  stopReason: StopReason;
  usage: Usage;
}

export interface SyncProgress {
  documentsDone: number;
  documentsTotal: number;
  /** Passages that were embedded. */
  chunks: number;
  /** The document that was done last. */
  document?: string;
}

/** What a sync did. */
export interface SyncReport {
  scanned: number;
  added: number;
  modified: number;
  deleted: number;
  unchanged: number;
  /** Documents that could not be read. None of them answers. */
  failed: { document: string; reason: string }[];
  /** Files that are no documents: of other formats, or symbolic links. */
  skipped: string[];
  /** Passages that were embedded. */
  chunks: number;
  /** Why everything was read again, where damaged files made that necessary. */
  rebuilt?: string;
  /** Ids of directly added documents that a rebuild lost: they have no source to be read from. */
  lost?: string[];
}

/** A folder or a file that a sync reads. */
export interface Source {
  id: string;
  path: string;
}

/** A document as it is listed. */
export interface DocumentInfo {
  /** Its path inside its source, or the id that it was added with. */
  id: string;
  /** The id of its source, unless it was added directly. */
  source?: string;
  uri: string;
  title: string;
  pages?: number;
  /** How many passages it was cut into. */
  chunks: number;
  sha256: string;
  metadata: Record<string, unknown>;
}

export interface KnowledgeBaseInfo {
  id: string;
  name: string;
  description?: string;
  embeddingModel: string;
  chunking: { maxTokens: number; overlapTokens: number };
  /** Length of a vector; absent before the first document. */
  dimensions?: number;
  sources: Source[];
  /** How many documents it holds; absent where its files are damaged, which a sync mends. */
  documents?: number;
  /** How many passages it holds; likewise. */
  chunks?: number;
}

/** A knowledge base: documents that can be searched and asked. */
export class KnowledgeBase {
  readonly id: string;
  readonly name: string;
  /** Its name, model, chunking and what it holds. */
  info(): Promise<KnowledgeBaseInfo>;
  /** Its sources. */
  sources(): Promise<Source[]>;
  /** Adds a folder or a file as a source; `sync` reads it. */
  addSource(path: string): Promise<Source>;
  /** Removes a source, by its id or its path; the next sync deletes its documents. */
  removeSource(source: string | Source): Promise<Source>;
  /**
   * Brings the knowledge base up to date with its sources. What fails is named in the report with
   * its reason. Each commit is whole: a crash leaves the last one, and the next sync finishes.
   */
  sync(
    options?: CallOptions & { onProgress?: (progress: SyncProgress) => void },
  ): Promise<SyncReport>;
  /** Adds documents directly; gives their ids. */
  add(documents: Document[], options?: CallOptions): Promise<string[]>;
  /** Deletes documents by id; gives how many there were. */
  delete(ids: string | string[]): Promise<number>;
  /** The documents of the knowledge base. */
  documents(): Promise<DocumentInfo[]>;
  /**
   * The passages nearest to a query, best first; of those documents alone that pass the filter,
   * where there is one.
   */
  retrieve(query: string, options?: CallOptions & RetrieveOptions): Promise<Passage[]>;
  /** Answers a question from the documents, with citations that were checked. */
  ask(question: string, options?: CallOptions & AskOptions): Promise<Answer>;
}

/** How passages are looked for. */
export interface RetrieveOptions {
  /** How many, 1 to 100. Default 5. */
  k?: number;
  /** What the documents' metadata must fulfil. */
  filter?: RetrievalFilter;
  /**
   * `semantic` (the default): by the cosine of the vectors, which is the score, -1 to 1. `keyword`:
   * by the query's words, those that are rare above all; the score is BM25, above 0, and a passage
   * with none of the words is not found. `hybrid`: by both, fused by reciprocal rank; the score is 1
   * for the first of both.
   */
  search?: "semantic" | "keyword" | "hybrid";
  /** A reranking model: it puts the passages in another order; its relevance, 0 to 1, is the score. */
  rerank?: string | Model;
}

/** How a question is answered. */
export interface AskOptions extends RetrieveOptions {
  /** A chat model. Default `outcrop.quote-v1`. */
  model?: string | Model;
  /**
   * A conversation of your own naming: the model is shown the questions and answers before this
   * one, which are kept in the home. Default: none.
   */
  sessionId?: string;
}

/** A function that an agent may call; `tool` makes one. */
export interface AgentTool {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: Record<string, unknown>;
}

/** A tool as it is declared. Without `run`, its calls pause the turn until their result is given. */
export interface ToolSpec<Arguments = any> {
  /** The name that the model calls it by: letters, digits, `_` and `-`. */
  name: string;
  /** What it does, for the model. */
  description?: string;
  /** JSON schema of its arguments, or a zod schema (4.2 or later). */
  inputSchema: object;
  /** What runs, in this process, with arguments that were checked against the schema. */
  run?: (input: Arguments, context: { signal?: AbortSignal }) => unknown;
}

/** Makes a tool of a function. */
export function tool<Arguments = any>(
  spec: ToolSpec<Arguments> & Required<Pick<ToolSpec<Arguments>, "run">>,
): AgentTool;

/** A group of tools that an agent may call. */
export interface ActionGroup {
  /** Letters, digits, `_` and `-`. */
  name: string;
  /**
   * Tools that run here, or declarations without `run`; not both in one group. Of an MCP server, the
   * names of those that the group has; all of them without it.
   */
  tools?: (AgentTool | ToolSpec)[] | string[];
  /** Where the runtime calls them: the URL before each path. `allowHost` allows its host. */
  url?: string;
  /** An OpenAPI 3 schema that they are read from, with a `url` or a `lambdaArn`. */
  apiSchema?: string;
  /** The ARN of the Lambda function that runs them, as `mapLambda` maps it. */
  lambdaArn?: string;
  /**
   * The MCP server whose tools they are: a URL, whose host `allowHost` allows, or a command as its
   * words, which `allowCommand` allows.
   */
  mcp?: string | string[];
  /** The names of those whose calls a person must approve. */
  confirm?: string | string[];
  description?: string;
}

/** An agent that another one may hand work to. */
export interface Collaborator {
  /** The agent, or its name or id. */
  agent: string | Agent;
  /** When work is to be handed to it, for the model. */
  instruction?: string;
  /** The name that the supervisor knows it by. Default: its own. */
  name?: string;
  /** Whether it is told what the user and the supervisor have said before. Default: no. */
  relayHistory?: boolean;
}

/** What an agent is created with. */
export interface AgentOptions extends CallOptions {
  /** The model that it asks. Default `outcrop.tiny-v1`, which comes with Outcrop. */
  model?: string | Model;
  /** What it is told before every conversation. */
  instruction?: string;
  /** What it may call, and nothing else. */
  actionGroups?: ActionGroup[];
  /** Where it may look things up. */
  knowledgeBases?: (string | KnowledgeBase)[];
  /** The agents that it may hand work to. The functions of handles run here. */
  collaborators?: (string | Agent | Collaborator)[];
  /**
   * `SUPERVISOR`, the default: it plans, and its collaborators are callables of its model.
   * `SUPERVISOR_ROUTER`: its model is asked first which one answers alone.
   */
  collaboration?: "SUPERVISOR" | "SUPERVISOR_ROUTER";
  /** What its calls require beyond being in its action groups. */
  rules?: AgentRule[];
  /** Cedar policies over its calls, beside those of `session.putPolicy`. */
  policy?: string;
  description?: string;
  temperature?: number;
  seed?: number;
  /** Model calls of one turn. Default 20. */
  maxSteps?: number;
  /** Tokens that a turn reads and makes. Default 1,000,000. */
  maxTokens?: number;
  /** Seconds of a turn's model calls, functions and look-ups. Default 600. */
  maxSeconds?: number;
  /** Dollars of a turn, by `price`. Default 10. */
  maxCost?: number;
  /** Dollars for a million tokens. Default 0. */
  price?: { input: number; output: number };
  /**
   * Whether sessions that name a `memoryId` are summed up when they end, and read by later ones:
   * `true`, or for how many days (0 to 365, default 30), how many of the most recent are read
   * (default 20), and what the model is asked for a summary, with `$conversation$` in it.
   */
  memory?: boolean | { storageDays?: number; maxRecentSessions?: number; template?: string };
  /**
   * Seconds after which a session in which nobody speaks has ended. Default: 600 where the agent has
   * a memory; else a session stays.
   */
  idleSessionTtl?: number;
  /** Take the place of another agent of this name. */
  replace?: boolean;
}

/** What calls of `function` require: `group.name`, `group.*` or `*`. */
export interface AgentRule {
  function: string;
  require:
    | { never: {} }
    | { approval: {} }
    | { approvalAfter: { kinds: ("function" | "document" | "agent" | "memory")[] } }
    | { atMost: { times: number; seconds?: number } }
    | { sumAtMost: { argument: string; sum: number; seconds?: number } }
    | { from: { arguments: string[]; sources: string[] } };
}

/** A text of Cedar policies, as a home keeps it. */
export interface Policy {
  /**
   * Its name. Where the text has several policies, their ids are `name.1`, or `name.id` by the
   * annotation `@id("id")`; of one alone it is the name.
   */
  name: string;
  /** The policies, in Cedar's language. */
  text: string;
  /** The name of the agent that they are over; null where they are over every agent. */
  agent: string | null;
}

/** What is known of an agent. */
export interface AgentInfo {
  id: string;
  arn: string;
  name: string;
  description?: string;
  createdAt: string;
  definition: Record<string, unknown>;
}

/** What a turn begins with, beside what the user says. */
export interface InvokeOptions extends CallOptions {
  /** The conversation that it belongs to, which is made where there is none. Default: a fresh one. */
  sessionId?: string;
  /** Facts about the session, for tools and policies. They stay for later turns. */
  sessionAttributes?: Record<string, string>;
  /** Facts about this turn, which the model is told. */
  promptSessionAttributes?: Record<string, string>;
  /**
   * The memory that the session reads when it begins and that keeps its summary when it ends.
   * Default: none, or the one that the session began with.
   */
  memoryId?: string;
  /**
   * Whether the session ends with the turn, unless the turn is paused; at once where the input is
   * empty, which stops a turn that is paused. Where the session has a memory, the agent's model sums
   * up what it held; a failure of that stands in the result's `summaryFailure`, and it is tried again
   * with the next call that asks about the memory.
   */
  endSession?: boolean;
}

/** A session that a memory keeps. */
export interface MemorySession {
  sessionId: string;
  /** When it began, RFC 3339. */
  began: string;
  /** When it ended; absent where it is open. */
  ended?: string;
  /** When it is forgotten; absent where it is open. */
  expires?: string;
  /** What it held, in the words of the agent's model; absent where no summary was made yet. */
  summary?: string;
}

/** The events of a turn, in order; a tree as a text. */
export class Trace extends Array<TraceEvent> {
  /** The trace as lines for a terminal: `console.log(`${result.trace}`)`. */
  toString(): string;
  /** The trace as HTML that stands alone: no script, nothing from elsewhere, all text escaped. */
  toHtml(): string;
}

/** A call that a paused turn waits for. */
export interface PendingCall {
  /** Its id in the session. */
  id: string;
  tool: string;
  arguments: Record<string, unknown>;
  asks: "RESULT" | "USER_CONFIRMATION" | "USER_CONFIRMATION_AND_RESULT";
  actionGroup: string | null;
  sessionId: string;
  toolUseId: string;
  /** The names of the agents that the work was handed down to, where it is a call of the last. */
  within: string[];
}

/** One event of a trace. */
export interface TraceEvent {
  /** The number of the fact in the session that it tells of: a step to replay to or fork from. */
  step: number;
  turn: number;
  /** When it was recorded, RFC 3339. */
  time: string;
  /** SHA-256 of what it tells of. */
  digest: string;
  /** The delegations that it is within, where it is of an agent that was handed work. */
  within?: {
    call: string; name: string; agentId: string; agentVersion: string; aliasId?: string;
  }[];
  /** One member: what it tells. */
  event: Record<string, any>;
}

/** Where a turn stands. */
export interface AgentResult {
  agentId: string;
  sessionId: string;
  /** The turn's number in its session, from 1. */
  turn: number;
  /** The answer; empty where the turn is paused. */
  text: string;
  citations: Citation[];
  /** `end_turn`; `pending` and `interrupted` where it is paused; else why it ended early. */
  stopReason:
    | "end_turn" | "pending" | "interrupted" | "max_tokens" | "max_steps" | "token_limit"
    | "time_limit" | "cost_limit" | "repeated_call" | "model_failed" | "stopped";
  /** What was wrong, where it ended before its answer. */
  message: string;
  pending: PendingCall[];
  trace: Trace;
  /** Model calls. */
  steps: number;
  usage: Usage;
  /** Dollars, by the agent's price. */
  cost: number;
  /** Milliseconds of model calls, functions and look-ups. */
  tookMs: number;
  /** Whether the session has ended: the next turn begins another one of its id. */
  sessionEnded: boolean;
  /** What the session held, as its memory keeps it, where it has ended and has one. */
  summary?: string;
  /** Why no summary was made of it: it is tried again. */
  summaryFailure?: string;
}

/** What a turn tells as it happens. */
export type AgentEvent = { text: string } | { trace: TraceEvent } | { result: AgentResult };

/**
 * A model that works in turns. It calls the tools of its action groups and no others, looks things
 * up in its knowledge bases, and asks for approval where it must. Every step is recorded in the
 * session's home before the next.
 */
export class Agent {
  readonly id: string;
  readonly name: string;
  info(): Promise<AgentInfo>;
  /**
   * Runs one turn: until the agent answers, or waits for an approval or a result. An input is empty
   * only where the session ends.
   *
   * @throws OutcropError `ConflictException` where the session's last turn has not ended, is under
   * way elsewhere, or began with another memory.
   */
  invoke(input: string, options?: InvokeOptions): Promise<AgentResult>;
  /** `invoke`, told as it happens. Leaving the loop stops the turn; `resume` goes on with it. */
  stream(input: string, options?: InvokeOptions): AsyncGenerator<AgentEvent, void, void>;
  /**
   * Goes on with a turn that is paused, or, by the session's id, whose process is gone: from any
   * process. `results` holds what calls gave that were made outside, by their ids.
   */
  resume(
    pending: PendingCall | PendingCall[] | string,
    options?: CallOptions & {
      approve?: boolean; reason?: string; results?: Record<string, unknown>;
    },
  ): Promise<AgentResult>;
  /** Ends a turn that is paused, or whose process is gone. */
  stop(sessionId: string, options?: CallOptions & { reason?: string }): Promise<AgentResult>;
  /** Where a session stood after a step, from what was recorded: nothing is run. */
  replay(sessionId: string, options?: CallOptions & { toStep?: number }): Promise<AgentResult>;
  /**
   * What is kept of the sessions that had a memory, the latest first. Sessions in which nobody has
   * spoken for too long are ended, and those that have ended are summed up by the agent's model,
   * before it is read.
   */
  memory(memoryId: string, options?: CallOptions): Promise<MemorySession[]>;
  /**
   * Forgets what is kept of sessions that have ended: of one session of a memory, of a memory, or of
   * every memory of the agent. What happened in the sessions stays in their journals.
   *
   * @throws OutcropError `ResourceNotFoundException` where nothing is kept of it.
   */
  deleteMemory(options?: CallOptions & { memoryId?: string; sessionId?: string }): Promise<void>;
  /** Makes another session with the same beginning; `resume` with its id goes on with it. */
  fork(
    sessionId: string,
    options?: CallOptions & {
      step?: number;
      edit?: { instruction: string } | { call: string; result: unknown };
      newSessionId?: string;
    },
  ): Promise<AgentResult>;
}

declare const outcrop: {
  Agent: typeof Agent;
  Completion: typeof Completion;
  KnowledgeBase: typeof KnowledgeBase;
  Model: typeof Model;
  OutcropError: typeof OutcropError;
  Reply: typeof Reply;
  Session: typeof Session;
  TextStream: typeof TextStream;
  Trace: typeof Trace;
  tool: typeof tool;
};
export default outcrop;
