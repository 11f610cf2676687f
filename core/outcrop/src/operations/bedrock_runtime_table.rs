//! The operations of `bedrock-runtime`: running models.

use super::{async_invokes, converse, invoke, operations};

operations! { BedrockRuntime;
    ApplyGuardrail, POST "/guardrail/{guardrailIdentifier}/version/{guardrailVersion}/apply" 200;
    Converse, POST "/model/{modelId}/converse" 200 => converse::converse;
    ConverseStream, POST "/model/{modelId}/converse-stream" 200 => converse::converse_stream;
    CountTokens, POST "/model/{modelId}/count-tokens" 200 => invoke::count_tokens;
    GetAsyncInvoke, GET "/async-invoke/{invocationArn}" 200 -> async_invokes::get;
    InvokeGuardrailChecks, POST "/guardrail-checks/invoke" 200;
    InvokeModel, POST "/model/{modelId}/invoke" 200 => invoke::invoke_model;
    InvokeModelWithBidirectionalStream, POST "/model/{modelId}/invoke-with-bidirectional-stream" 200;
    InvokeModelWithResponseStream, POST "/model/{modelId}/invoke-with-response-stream" 200 => invoke::invoke_model_with_response_stream;
    ListAsyncInvokes, GET "/async-invoke" 200 -> async_invokes::list;
    StartAsyncInvoke, POST "/async-invoke" 200 -> async_invokes::start_invoke;
}
