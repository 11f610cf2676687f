// Jobs that train a model on one's own data.
"use strict";

const { isAbsolute, resolve } = require("node:path");

const { call, checkOptions, signalOf } = require("./call.cjs");
const {
  absent, choice, integer, object, optional, real, text, texts, wrong,
} = require("./checks.cjs");
const { OutcropError } = require("./errors.cjs");
const { compact } = require("./requests.cjs");

const FINE_TUNE_OPTIONS = [
  "name", "validation", "method", "precision", "epochs", "batchSize", "learningRate", "warmupSteps",
  "decay", "loraRank", "loraAlpha", "loraDropout", "targetModules", "earlyStoppingPatience", "maxTokens",
  "seed", "checkpointEvery", "output", "signal",
];
const AT_WORK = ["InProgress", "Stopping"];
/** Milliseconds between two looks at a job. */
const LOOK = 200;

/** A path, made absolute so that it outlives the working folder, or an S3 URI. */
function place(field, value) {
  const given = text(field, value);
  return given.includes("://") || isAbsolute(given) ? given : resolve(given);
}

/** A `FineTuneRequest` as JSON. */
function fineTuneRequest(baseModel, trainingData, options) {
  const given = checkOptions(object("options", options), FINE_TUNE_OPTIONS, "fineTune");
  const count = (name) => {
    const value = optional(integer, name, given[name], Number.MAX_SAFE_INTEGER);
    return value === undefined ? undefined : Number(value);
  };
  const patience = count("earlyStoppingPatience");
  return JSON.stringify(compact({
    base_model: text("baseModel", baseModel),
    training_data: place("trainingData", trainingData),
    name: text("name", given.name),
    validation: optional(place, "validation", given.validation),
    method: optional(choice, "method", given.method, ["lora", "full"]),
    lora: compact({
      rank: count("loraRank"),
      alpha: optional(real, "loraAlpha", given.loraAlpha),
      dropout: optional(real, "loraDropout", given.loraDropout),
      target_modules: optional(texts, "targetModules", given.targetModules),
    }),
    training: compact({
      epochs: count("epochs"),
      batch_size: count("batchSize"),
      learning_rate: optional(real, "learningRate", given.learningRate),
      warmup_steps: count("warmupSteps"),
      decay: optional(choice, "decay", given.decay, ["cosine", "linear", "constant"]),
      seed: count("seed"),
      precision: optional(choice, "precision", given.precision, ["float32", "bfloat16"]),
      early_stopping: patience === undefined ? undefined : { threshold: 0, patience },
    }),
    max_tokens: count("maxTokens"),
    checkpoint_every: count("checkpointEvery"),
    output: optional(place, "output", given.output),
  }));
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
    const { status, failure, step, steps, loss, model } = this.#told;
    return { status, failure, step, steps, loss, modelArn: model };
  }

  async metrics() {
    const steps = JSON.parse(await call(undefined, (c) => this.#native.trainingMetrics(this.id, c)));
    return steps.map(stepOf);
  }

  async wait(options) {
    const { onProgress } = checkOptions(options, ["onProgress", "signal"], "wait");
    const signal = signalOf(options, "wait");
    if (!absent(onProgress) && typeof onProgress !== "function") {
      throw wrong("onProgress", "a function", onProgress);
    }
    for (;;) {
      if (signal?.aborted) throw signal.reason;
      const now = await this.status();
      onProgress?.(now);
      if (now.status === "Failed") {
        throw new OutcropError("ModelErrorException", `job ${this.name}: ${now.failure}`);
      }
      if (!AT_WORK.includes(now.status)) return this;
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

module.exports = { TrainingJob, fineTuneRequest };
