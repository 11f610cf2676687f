//! One agent turn as a state machine: prompt, tool use, return of control, trace.
