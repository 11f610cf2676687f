// Outcrop for CommonJS.
"use strict";

const { OutcropError } = require("./lib/errors.cjs");
const { KnowledgeBase } = require("./lib/knowledge_base.cjs");
const { Model } = require("./lib/model.cjs");
const { Prefix } = require("./lib/prefix.cjs");
const { Completion, Reply } = require("./lib/replies.cjs");
const { Session } = require("./lib/session.cjs");
const { TextStream } = require("./lib/stream.cjs");

module.exports = { Completion, KnowledgeBase, Model, OutcropError, Prefix, Reply, Session, TextStream };
