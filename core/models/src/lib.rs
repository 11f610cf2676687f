//! The shelf: an id or ARN becomes something that chats, embeds or reranks.
