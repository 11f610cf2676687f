// Jobs that train a model on one's own data.
"use strict";

const { isAbsolute, resolve } = require("node:path");

const { call, checkOptions, signalOf } = require("./call.cjs");
const {
  absent, choice, flag, integer, object, optional, plain, real, text, texts, wrong,
} = require("./checks.cjs");
const { OutcropError } = require("./errors.cjs");
const { compact } = require("./requests.cjs");

const TRAINING_OPTIONS = [
  "name", "validation", "method", "precision", "epochs", "batchSize", "learningRate", "warmupSteps",
  "decay", "loraRank", "loraAlpha", "loraDropout", "targetModules", "earlyStoppingPatience", "maxTokens",
  "seed", "checkpointEvery", "output", "signal",
];
const FINE_TUNE_OPTIONS = ["temperature", ...TRAINING_OPTIONS];
const DISTILL_OPTIONS = [
  "teacher", "student", "prompts", "invocationLogs", "maxResponseTokens", "teacherPrice",
  "studentPrice", ...TRAINING_OPTIONS,
];
const TOKENIZER_OPTIONS = [
  "vocabSize", "specialTokens", "eosToken", "chatTemplate", "model", "seed", "signal",
];
const AT_WORK = ["InProgress", "Stopping"];
/** Milliseconds between two looks at a job. */
const LOOK = 200;

/** A path, made absolute so that it outlives the working folder, or an S3 URI. */
function place(field, value) {
  const given = text(field, value);
  return given.includes("://") || isAbsolute(given) ? given : resolve(given);
}

/** A whole number of `given`, where it is there. */
function count(given, name) {
  const value = optional(integer, name, given[name], Number.MAX_SAFE_INTEGER);
  return value === undefined ? undefined : Number(value);
}

/** What a request says of the training. */
function trainingOf(given) {
  const patience = count(given, "earlyStoppingPatience");
  return {
    name: text("name", given.name),
    validation: optional(place, "validation", given.validation),
    method: optional(choice, "method", given.method, ["lora", "full"]),
    lora: compact({
      rank: count(given, "loraRank"),
      alpha: optional(real, "loraAlpha", given.loraAlpha),
      dropout: optional(real, "loraDropout", given.loraDropout),
      target_modules: optional(texts, "targetModules", given.targetModules),
    }),
    training: compact({
      epochs: count(given, "epochs"),
      batch_size: count(given, "batchSize"),
      learning_rate: optional(real, "learningRate", given.learningRate),
      warmup_steps: count(given, "warmupSteps"),
      decay: optional(choice, "decay", given.decay, ["cosine", "linear", "constant"]),
      seed: count(given, "seed"),
      temperature: optional(real, "temperature", given.temperature),
      precision: optional(choice, "precision", given.precision, ["float32", "bfloat16"]),
      early_stopping: patience === undefined ? undefined : { threshold: 0, patience },
    }),
    max_tokens: count(given, "maxTokens"),
    checkpoint_every: count(given, "checkpointEvery"),
    output: optional(place, "output", given.output),
  };
}

/** A `FineTuneRequest` as JSON. */
function fineTuneRequest(baseModel, trainingData, options) {
  const given = checkOptions(object("options", options), FINE_TUNE_OPTIONS, "fineTune");
  return JSON.stringify(compact({
    base_model: text("baseModel", baseModel),
    training_data: place("trainingData", trainingData),
    ...trainingOf(given),
  }));
}

/** Dollars for a million tokens that are read, and that are made. */
function price(field, value) {
  const given = checkOptions(object(field, value), ["input", "output"], field);
  return compact({
    input: optional(real, `${field}.input`, given.input),
    output: optional(real, `${field}.output`, given.output),
  });
}

/** Where recorded calls are: a place, or an object with it. */
function logsOf(field, value) {
  if (typeof value === "string") return { uri: place(field, value) };
  const given = checkOptions(object(field, value), ["uri", "useResponses", "filters"], field);
  return compact({
    uri: place(`${field}.uri`, given.uri),
    use_responses: optional(flag, `${field}.useResponses`, given.useResponses),
    filters: optional(plain, `${field}.filters`, given.filters),
  });
}

/** A `DistillRequest` as JSON. */
function distillRequest(options) {
  const given = checkOptions(object("options", options), DISTILL_OPTIONS, "distill");
  return JSON.stringify(compact({
    teacher: text("teacher", given.teacher),
    student: text("student", given.student),
    prompts: optional(place, "prompts", given.prompts),
    invocation_logs: optional(logsOf, "invocationLogs", given.invocationLogs),
    max_response_tokens: count(given, "maxResponseTokens"),
    teacher_price: optional(price, "teacherPrice", given.teacherPrice),
    student_price: optional(price, "studentPrice", given.studentPrice),
    ...trainingOf(given),
  }));
}

/** A `TokenizerRequest` as JSON. */
function tokenizerRequest(trainingData, folder, options) {
  const given = checkOptions(options, TOKENIZER_OPTIONS, "trainTokenizer");
  return JSON.stringify({
    training_data: place("trainingData", trainingData),
    folder: resolve(text("folder", folder)),
    options: compact({
      vocab_size: count(given, "vocabSize"),
      special_tokens: optional(texts, "specialTokens", given.specialTokens),
      eos_token: optional(text, "eosToken", given.eosToken),
      chat_template: optional(text, "chatTemplate", given.chatTemplate),
      model: optional((field, value) => plain(field, object(field, value)), "model", given.model),
      seed: count(given, "seed"),
    }),
  });
}

/** A step of training, as JavaScript names its members. */
function stepOf(step) {
  return {
    step: step.step,
    epoch: step.epoch,
    loss: step.loss,
    learningRate: step.learning_rate,
    gradientNorm: step.gradient_norm,
    tokens: step.tokens,
    validationLoss: step.validation_loss,
  };
}

/** How a model did, as JavaScript names its members. */
function modelReportOf({ tokens_per_second: tokensPerSecond, ...rest }) {
  return { ...rest, tokensPerSecond };
}

/** A distillation's report, as JavaScript names its members. */
function reportOf(report) {
  if (absent(report)) return null;
  const { failed, cut, unfit, other_records: otherRecords } = report.left_out;
  return {
    prompts: report.prompts,
    examples: report.examples,
    leftOut: { failed, cut, unfit, otherRecords },
    heldOut: report.held_out,
    reference: report.reference,
    teacher: modelReportOf(report.teacher),
    studentBefore: modelReportOf(report.student_before),
    student: modelReportOf(report.student),
  };
}

/** Tells from each look at a job how many seconds its training has left, once a step was seen. */
function timeLeft() {
  let first;
  return ({ step, steps }) => {
    if (!steps) return null;
    first ??= { step, at: performance.now() };
    const made = step - first.step;
    if (made <= 0) return null;
    return ((performance.now() - first.at) / 1000 / made) * (steps - step);
  };
}

/** A job that trains a model. */
class TrainingJob {
  #native;
  #session;
  #told;

  constructor(native, session, status) {
    this.#native = native;
    this.#session = session;
    this.#told = JSON.parse(status);
  }

  get id() { return this.#told.id; }
  get arn() { return this.#told.arn; }
  get name() { return this.#told.name; }

  async status() {
    this.#told = JSON.parse(await call(undefined, (c) => this.#native.trainingJob(this.id, c)));
    const { status, failure, step, steps, loss, model, asked, answered, prompts } = this.#told;
    return { status, failure, step, steps, loss, modelArn: model, asked, answered, prompts };
  }

  async metrics() {
    const steps = JSON.parse(await call(undefined, (c) => this.#native.trainingMetrics(this.id, c)));
    return steps.map(stepOf);
  }

  async report() {
    await this.status();
    return reportOf(this.#told.report);
  }

  async wait(options) {
    const { onProgress } = checkOptions(options, ["onProgress", "signal"], "wait");
    const signal = signalOf(options, "wait");
    if (!absent(onProgress) && typeof onProgress !== "function") {
      throw wrong("onProgress", "a function", onProgress);
    }
    const left = timeLeft();
    for (;;) {
      if (signal?.aborted) throw signal.reason;
      const now = await this.status();
      onProgress?.({ ...now, secondsLeft: left(now) });
      if (now.status === "Failed") {
        throw new OutcropError("ModelErrorException", `job ${this.name}: ${now.failure}`);
      }
      if (!AT_WORK.includes(now.status)) return this;
      await new Promise((done) => { setTimeout(done, LOOK); });
    }
  }

  async *events(options) {
    const signal = signalOf(checkOptions(options, ["signal"], "events"), "events");
    const left = timeLeft();
    let [seen, told] = [0, ""];
    for (;;) {
      if (signal?.aborted) throw signal.reason;
      const now = await this.status();
      const steps = await this.metrics();
      const newSteps = steps.slice(seen);
      const looked = JSON.stringify(now);
      if (looked !== told || newSteps.length > 0) yield { ...now, secondsLeft: left(now), newSteps };
      [seen, told] = [steps.length, looked];
      if (!AT_WORK.includes(now.status)) return;
      await new Promise((done) => { setTimeout(done, LOOK); });
    }
  }

  async model(options) {
    const { modelArn, status } = await this.status();
    if (absent(modelArn)) {
      const message = `job ${this.name}: no model yet, it is ${status}`;
      throw new OutcropError("ValidationException", message);
    }
    return this.#session.model(modelArn, options);
  }

  async stop() {
    await call(undefined, (c) => this.#native.stopTraining(this.id, c));
  }
}

module.exports = { TrainingJob, distillRequest, fineTuneRequest, tokenizerRequest };
