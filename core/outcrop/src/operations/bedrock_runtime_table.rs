//! The operations of `bedrock-runtime`: running models.

use super::{converse, operations};

operations! { BedrockRuntime;
    ApplyGuardrail, POST "/guardrail/{guardrailIdentifier}/version/{guardrailVersion}/apply" 200;
    Converse, POST "/model/{modelId}/converse" 200 => converse::converse;
    ConverseStream, POST "/model/{modelId}/converse-stream" 200 => converse::converse_stream;
    CountTokens, POST "/model/{modelId}/count-tokens" 200;
    GetAsyncInvoke, GET "/async-invoke/{invocationArn}" 200;
    InvokeGuardrailChecks, POST "/guardrail-checks/invoke" 200;
    InvokeModel, POST "/model/{modelId}/invoke" 200;
    InvokeModelWithBidirectionalStream, POST "/model/{modelId}/invoke-with-bidirectional-stream" 200;
    InvokeModelWithResponseStream, POST "/model/{modelId}/invoke-with-response-stream" 200;
    ListAsyncInvokes, GET "/async-invoke" 200;
    StartAsyncInvoke, POST "/async-invoke" 200;
}
