//! Codes of sinks: 3000 to 3999.

crate::base::codes::codes! {
    /// Codes of sinks.
    SINKS:

    SINK_FAILING = 3001 Warning "a sink cannot deliver" {
        "Its destination is away, refuses or does not answer; the line has the reason. Its events wait in their channel, and it is tried again."
        "Look at the destination that the line names."
        "operations.md#when-a-server-is-away"
    }
    EVENT_HOLDS_UP = 3002 Warning "an event is refused by its destination and holds up the channel" {
        "One event that the server will never take stands in front of all others."
        "Take it out of the channel, or set deadLetter.directory or deadLetter.channel."
    }
    EVENT_IN_DEAD_LETTERS = 3003 Warning "an event that was refused is in its dead-letter place" {
        "The destination refused it; the others go on."
        "See what is wrong with it. Delivering it again is up to you."
        "loss.md"
    }
    EVENT_TOO_LARGE_FOR_SERVER = 3004 Warning "an event may be too large for the server" {
        "The server closes the connection at each try of a batch."
        "Raise the server's limit, or set deadLetter.directory or deadLetter.channel."
    }
    DEAD_LETTER_CHANNEL_ABSENT = 3005 Error "the channel for dead letters is not there" {
        "deadLetter.channel names a channel that the agent does not have: what is refused stays where it is."
        "Correct deadLetter.channel; millpond validate names it."
    }
}
