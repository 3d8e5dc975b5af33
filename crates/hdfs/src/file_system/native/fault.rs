//! What an error of the client means to the sink.

use crate::file_system::{FaultKind, FileSystemError};
use hdfs_native::HdfsError;
use std::io;
use std::time::Duration;

/// The longest reason that is kept of a server's text, in characters.
const REASON_CHARS_MAX: usize = 400;

const CLOSED_BY_SERVER: &str = "the log of the NameNode says why it closed the connection: \
    authentication that does not fit (hadoop.security.authentication), a user that may not act for \
    another (hadoop.proxyuser.*), or a port that is not the one of its RPC";
const NOT_AUTHENTICATED: &str = "get a ticket (kinit), or set hdfs.kerberosPrincipal and \
    hdfs.kerberosKeytab; if they are set, `klist -k KEYTAB` must list the principal, where _HOST is \
    the name of this machine";

/// Returns the error of `action` on `path` that the client reported as `error`.
pub(super) fn fault(action: &'static str, path: &str, error: HdfsError) -> FileSystemError {
    let (kind, reason, hint) = match error {
        HdfsError::IOError(error) => of_io(&error),
        // The library says this also of a file that another writer has open.
        HdfsError::AlreadyExists(text) if matches!(action, "append" | "recover") => {
            (FaultKind::LeaseHeld, text, None)
        }
        HdfsError::AlreadyExists(text) | HdfsError::IsADirectoryError(text) => {
            (FaultKind::AlreadyExists, text, None)
        }
        HdfsError::FileNotFound(_) => (FaultKind::NotFound, "it does not exist".into(), None),
        HdfsError::InvalidPath(text) => (FaultKind::InvalidPath, text, None),
        HdfsError::RPCError(class, text) | HdfsError::FatalRPCError(class, text) => {
            of_exception(&class, text)
        }
        HdfsError::GSSAPIError(_, _, text) | HdfsError::SASLError(text) => {
            (FaultKind::Unauthenticated, text, Some(NOT_AUTHENTICATED))
        }
        error @ HdfsError::NoSASLMechanism => {
            (FaultKind::Unauthenticated, error.to_string(), Some(NOT_AUTHENTICATED))
        }
        HdfsError::DataTransferError(text) | HdfsError::OperationFailed(text) => {
            (FaultKind::Broken, text, None)
        }
        error @ (HdfsError::ChecksumError | HdfsError::BlocksNotFound(_)) => {
            (FaultKind::Broken, error.to_string(), None)
        }
        error @ (HdfsError::InvalidArgument(_)
        | HdfsError::UrlParseError(_)
        | HdfsError::XmlParseError(_)) => (FaultKind::Misconfigured, error.to_string(), None),
        error @ (HdfsError::UnsupportedFeature(_)
        | HdfsError::UnsupportedErasureCodingPolicy(_)) => {
            (FaultKind::Unsupported, error.to_string(), None)
        }
        other => (FaultKind::Other, other.to_string(), None),
    };
    with(action, path, kind, &reason, hint)
}

/// Returns the error of `action` that took longer than `limit`.
pub(super) fn timed_out(action: &'static str, path: &str, limit: Duration) -> FileSystemError {
    let reason = format!("no reply in {:.1} s (hdfs.callTimeout)", limit.as_secs_f64());
    with(action, path, FaultKind::TimedOut, &reason, None)
}

/// Returns the error of a file that had an error before.
pub(super) fn broken(action: &'static str, path: &str) -> FileSystemError {
    with(action, path, FaultKind::Broken, "an earlier write of it failed", None)
}

/// Returns an error, with `reason` as one line of bounded length.
pub(super) fn with(
    action: &'static str,
    path: &str,
    kind: FaultKind,
    reason: &str,
    hint: Option<&'static str>,
) -> FileSystemError {
    // A server of Hadoop adds its stack.
    let line = reason.split("\n\tat ").next().unwrap_or_default();
    let line = line.lines().next().unwrap_or_default();
    let printable = line.chars().map(|c| if c.is_control() { ' ' } else { c });
    let reason = printable.take(REASON_CHARS_MAX).collect();
    FileSystemError { kind, action, path: path.to_owned(), reason, hint }
}

/// Returns true if the servers that write a block failed, so that others may do better.
pub(super) fn is_of_the_pipeline(error: &HdfsError) -> bool {
    matches!(error, HdfsError::IOError(_) | HdfsError::DataTransferError(_))
}

type Meaning = (FaultKind, String, Option<&'static str>);

fn of_io(error: &io::Error) -> Meaning {
    let (kind, hint) = match error.kind() {
        io::ErrorKind::TimedOut => (FaultKind::TimedOut, None),
        io::ErrorKind::ConnectionAborted => (FaultKind::Unavailable, Some(CLOSED_BY_SERVER)),
        _ => (FaultKind::Unavailable, None),
    };
    (kind, error.to_string(), hint)
}

/// Returns what an exception of the NameNode means.
fn of_exception(class: &str, text: String) -> Meaning {
    let name = class.rsplit(['.', '$']).next().unwrap_or(class);
    let (kind, hint) = match name {
        "AccessControlException" | "AuthorizationException" => (FaultKind::PermissionDenied, None),
        "SafeModeException" => (FaultKind::ReadOnly, None),
        "NSQuotaExceededException"
        | "DSQuotaExceededException"
        | "QuotaByStorageTypeExceededException"
        | "QuotaExceededException"
        | "MaxDirectoryItemsExceededException" => (FaultKind::QuotaExceeded, None),
        "InvalidPathException" | "PathComponentTooLongException" | "UnresolvedPathException" => {
            (FaultKind::InvalidPath, None)
        }
        "ParentNotDirectoryException" => (FaultKind::NotDirectory, None),
        "FileNotFoundException" => (FaultKind::NotFound, None),
        "FileAlreadyExistsException" | "PathIsNotEmptyDirectoryException" => {
            (FaultKind::AlreadyExists, None)
        }
        "AlreadyBeingCreatedException" | "RecoveryInProgressException" => {
            (FaultKind::LeaseHeld, None)
        }
        "LeaseExpiredException" => (FaultKind::Broken, None),
        "StandbyException" | "RetriableException" | "ServerNotRunningYetException" => {
            (FaultKind::Unavailable, None)
        }
        "SaslException" | "GSSException" | "InvalidToken" => {
            (FaultKind::Unauthenticated, Some(NOT_AUTHENTICATED))
        }
        "UnsupportedOperationException" => (FaultKind::Unsupported, None),
        // An IOException without a class of its own.
        _ if text.contains("could only be written to") => (FaultKind::Unavailable, None),
        _ => return (FaultKind::Other, format!("{name}: {text}"), None),
    };
    let reason = if text.is_empty() { name.to_owned() } else { text };
    (kind, reason, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(action: &'static str, error: HdfsError) -> FaultKind {
        fault(action, "/a", error).kind
    }

    fn exception(class: &str, text: &str) -> HdfsError {
        HdfsError::RPCError(class.into(), text.into())
    }

    #[test]
    fn exceptions_of_a_namenode_have_their_kinds() {
        for (class, text, kind) in [
            (
                "org.apache.hadoop.security.AccessControlException",
                "no",
                FaultKind::PermissionDenied,
            ),
            ("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "no", FaultKind::ReadOnly),
            (
                "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException",
                "no",
                FaultKind::QuotaExceeded,
            ),
            ("org.apache.hadoop.fs.InvalidPathException", "no", FaultKind::InvalidPath),
            (
                "org.apache.hadoop.hdfs.protocol.FSLimitException$PathComponentTooLongException",
                "no",
                FaultKind::InvalidPath,
            ),
            ("org.apache.hadoop.fs.ParentNotDirectoryException", "no", FaultKind::NotDirectory),
            ("java.io.FileNotFoundException", "no", FaultKind::NotFound),
            ("org.apache.hadoop.ipc.StandbyException", "no", FaultKind::Unavailable),
            (
                "java.io.IOException",
                "File /a could only be written to 0 of the 1 minReplication nodes.",
                FaultKind::Unavailable,
            ),
            ("java.io.IOException", "other", FaultKind::Other),
        ] {
            assert_eq!(kind_of("create", exception(class, text)), kind, "{class}");
        }
        assert_eq!(
            kind_of("create", HdfsError::AlreadyExists("x".into())),
            FaultKind::AlreadyExists
        );
        assert_eq!(kind_of("append", HdfsError::AlreadyExists("x".into())), FaultKind::LeaseHeld);
    }

    #[test]
    fn a_stack_of_java_and_control_characters_stay_out_of_the_reason() {
        let text = "Permission denied: user=\u{1b}al\n\tat org.apache.hadoop.X(Y.java:1)\n";
        let error = fault("create", "/a", exception("a.AccessControlException", text));
        assert_eq!(error.to_string(), "cannot create /a: Permission denied: user= al");
        let long = fault("create", "/a", exception("b.C", &"ü".repeat(5000)));
        assert_eq!(long.reason.chars().count(), REASON_CHARS_MAX);
        let closed = io::Error::new(io::ErrorKind::ConnectionAborted, "gone");
        let error = fault("create", "/a", HdfsError::IOError(closed));
        assert_eq!(error.kind, FaultKind::Unavailable);
        assert!(error.to_string().contains("log of the NameNode"), "{error}");
    }
}
