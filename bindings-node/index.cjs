// Outcrop for CommonJS.
"use strict";

const { Agent } = require("./lib/agent.cjs");
const { OutcropError } = require("./lib/errors.cjs");
const { KnowledgeBase } = require("./lib/knowledge_base.cjs");
const { Model } = require("./lib/model.cjs");
const { Prefix } = require("./lib/prefix.cjs");
const { Completion, Reply } = require("./lib/replies.cjs");
const { Session } = require("./lib/session.cjs");
const { TextStream } = require("./lib/stream.cjs");
const { tool } = require("./lib/tools.cjs");
const { Trace } = require("./lib/trace.cjs");
const { TrainingJob } = require("./lib/training.cjs");

module.exports = {
  Agent, Completion, KnowledgeBase, Model, OutcropError, Prefix, Reply, Session, TextStream,
  Trace, TrainingJob, tool,
};
