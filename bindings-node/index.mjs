// Outcrop for ES modules.
import outcrop from "./index.cjs";

export const { Completion, KnowledgeBase, Model, OutcropError, Prefix, Reply, Session, TextStream } =
  outcrop;
export default outcrop;
