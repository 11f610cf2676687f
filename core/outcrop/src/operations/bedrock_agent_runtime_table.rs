//! The operations of `bedrock-agent-runtime`: asking knowledge bases, agents and flows.

use super::{agents, operations, retrieval, sessions, tags};

operations! { BedrockAgentRuntime;
    AgenticRetrieveStream, POST "/agenticRetrieveStream" 200;
    CheckIngestedDocumentAcl, POST "/knowledgebases/{knowledgeBaseId}/datasources/{dataSourceId}/check-ingested-document-acl" 200;
    CreateInvocation, PUT "/sessions/{sessionIdentifier}/invocations/" 201 -> sessions::create_invocation;
    CreateSession, PUT "/sessions/" 201 -> sessions::create;
    DeleteAgentMemory, DELETE "/agents/{agentId}/agentAliases/{agentAliasId}/memories" 202 -> agents::memory::delete;
    DeleteSession, DELETE "/sessions/{sessionIdentifier}/" 200 -> sessions::delete;
    EndSession, PATCH "/sessions/{sessionIdentifier}" 200 -> sessions::end;
    GenerateQuery, POST "/generateQuery" 200;
    GetAgentMemory, GET "/agents/{agentId}/agentAliases/{agentAliasId}/memories" 200 => agents::memory::get;
    GetDocumentContent, POST "/knowledgebases/{knowledgeBaseId}/datasources/{dataSourceId}/documents/{documentId}/content" 200;
    GetExecutionFlowSnapshot, GET "/flows/{flowIdentifier}/aliases/{flowAliasIdentifier}/executions/{executionIdentifier}/flowsnapshot" 200;
    GetFlowExecution, GET "/flows/{flowIdentifier}/aliases/{flowAliasIdentifier}/executions/{executionIdentifier}" 200;
    GetIngestedDocumentAcl, POST "/knowledgebases/{knowledgeBaseId}/datasources/{dataSourceId}/get-ingested-document-acl" 200;
    GetInvocationStep, POST "/sessions/{sessionIdentifier}/invocationSteps/{invocationStepId}" 200 -> sessions::get_step;
    GetSession, GET "/sessions/{sessionIdentifier}/" 200 -> sessions::get;
    InvokeAgent, POST "/agents/{agentId}/agentAliases/{agentAliasId}/sessions/{sessionId}/text" 200 => agents::invoke::invoke;
    InvokeFlow, POST "/flows/{flowIdentifier}/aliases/{flowAliasIdentifier}" 200;
    InvokeInlineAgent, POST "/agents/{sessionId}" 200 => agents::inline::invoke;
    ListFlowExecutionEvents, GET "/flows/{flowIdentifier}/aliases/{flowAliasIdentifier}/executions/{executionIdentifier}/events" 200;
    ListFlowExecutions, GET "/flows/{flowIdentifier}/executions" 200;
    ListInvocationSteps, POST "/sessions/{sessionIdentifier}/invocationSteps/" 200 -> sessions::list_steps;
    ListInvocations, POST "/sessions/{sessionIdentifier}/invocations/" 200 -> sessions::list_invocations;
    ListSessions, POST "/sessions/" 200 -> sessions::list;
    ListTagsForResource, GET "/tags/{resourceArn}" 200 -> tags::list;
    OptimizePrompt, POST "/optimize-prompt" 200;
    PutInvocationStep, PUT "/sessions/{sessionIdentifier}/invocationSteps/" 201 -> sessions::put_step;
    Rerank, POST "/rerank" 200 => retrieval::rerank;
    Retrieve, POST "/knowledgebases/{knowledgeBaseId}/retrieve" 200 => retrieval::retrieve;
    RetrieveAndGenerate, POST "/retrieveAndGenerate" 200 => retrieval::retrieve_and_generate;
    RetrieveAndGenerateStream, POST "/retrieveAndGenerateStream" 200 => retrieval::retrieve_and_generate_stream;
    StartFlowExecution, POST "/flows/{flowIdentifier}/aliases/{flowAliasIdentifier}/executions" 200;
    StopFlowExecution, POST "/flows/{flowIdentifier}/aliases/{flowAliasIdentifier}/executions/{executionIdentifier}/stop" 200;
    TagResource, POST "/tags/{resourceArn}" 200 -> tags::tag;
    UntagResource, DELETE "/tags/{resourceArn}" 200 -> tags::untag;
    UpdateSession, PUT "/sessions/{sessionIdentifier}/" 200 -> sessions::update;
}
