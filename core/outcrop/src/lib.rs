//! The front desk: the session that every binding opens.
