// Outcrop for ES modules.
import outcrop from "./index.cjs";

export const {
  Agent, Completion, KnowledgeBase, Model, OutcropError, Prefix, Reply, Session, TextStream,
  Trace, TrainingJob, tool,
} = outcrop;
export default outcrop;
