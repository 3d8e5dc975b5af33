//! Codes of sinks: 3000 to 3999.

millpond::internal::base::codes::codes! {
    /// Codes of sinks.
    SINKS:

    SINK_FAILING = 3001 Warning "a sink cannot deliver" {
        "Its destination is unavailable, refuses or does not reply; the line has the reason. Its events wait in their channel, and it is tried again."
        "Check the destination that the line names."
        "operations.md#when-a-server-is-unavailable"
    }
    EVENT_HOLDS_UP = 3002 Warning "an event is refused by its destination and blocks the channel" {
        "One event that the server will never accept blocks all others."
        "Remove it from the channel, or set deadLetter.directory or deadLetter.channel."
    }
    EVENT_IN_DEAD_LETTERS = 3003 Warning "a refused event is in the dead-letter queue" {
        "The destination refused it; the other events are delivered."
        "Find out what is wrong with it. millpond does not deliver it again by itself."
        "loss.md"
    }
    EVENT_TOO_LARGE_FOR_SERVER = 3004 Warning "an event may be too large for the server" {
        "The server closes the connection at each attempt to send a batch."
        "Raise the server's limit, or set deadLetter.directory or deadLetter.channel."
    }
    DEAD_LETTER_CHANNEL_ABSENT = 3005 Error "the channel for dead letters does not exist" {
        "deadLetter.channel names a channel that the agent does not have: refused events stay in their channel."
        "Correct deadLetter.channel; millpond validate names it."
    }
}
