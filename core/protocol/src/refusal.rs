//! A request that is turned away before it reaches the desk.

/// Why a request was turned away, in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The error's name.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// Nothing says who asks.
    pub fn missing_token() -> Self {
        Self::new(
            "MissingAuthenticationTokenException",
            403,
            "Missing Authentication Token",
        )
    }

    /// Who asks is not known.
    pub fn unrecognized() -> Self {
        Self::new(
            "UnrecognizedClientException",
            403,
            "The security token included in the request is invalid.",
        )
    }

    /// The bearer token is not known.
    pub fn unknown_bearer() -> Self {
        Self::new(
            "AccessDeniedException",
            403,
            "Authentication failed: Please make sure your API Key is valid.",
        )
    }

    /// The key is past its time.
    pub fn expired() -> Self {
        Self::new(
            "ExpiredTokenException",
            403,
            "The security token included in the request is expired",
        )
    }

    /// The signature lacks a part.
    pub fn incomplete(message: impl Into<String>) -> Self {
        Self::new("IncompleteSignatureException", 403, message)
    }

    /// The signature is wrong, for the reason given.
    pub fn invalid_signature(message: impl Into<String>) -> Self {
        Self::new("InvalidSignatureException", 403, message)
    }

    /// The signature is not that of the key's secret over this request.
    pub fn mismatch() -> Self {
        Self::invalid_signature(
            "The request signature we calculated does not match the signature you provided. Check \
             your AWS Secret Access Key and signing method. Consult the service documentation for \
             details.",
        )
    }

    /// Whether it is about who asks, and not about what they may do.
    pub fn is_about_identity(&self) -> bool {
        self.name != "AccessDeniedException" || *self == Self::unknown_bearer()
    }

    /// A refusal by its name.
    pub fn new(name: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self {
            name,
            status,
            message: message.into(),
        }
    }
}
