//! The AWS wire: HTTP request in, HTTP response or event stream out.
