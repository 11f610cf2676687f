//! Who may do what, who did what, what it cost: policy, audit, metering, quota, guardrails.
