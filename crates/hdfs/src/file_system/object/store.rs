//! The client of a store, from its URL and Hadoop's keys.

use crate::file_system::hadoop_settings::HadoopSettings;
use crate::file_system::spool::fault::with;
use crate::file_system::{FaultKind, FileSystemError};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::sync::Arc;
use std::time::Duration;

use super::fault::of_store;

/// The schemes of URLs of stores.
pub const SCHEMES: &[&str] = &["s3a", "s3", "s3n", "gs", "abfs", "abfss"];
/// Requests after the first one; the sink tries again afterwards.
const RETRIES_MAX: usize = 2;
/// What a store that is not Amazon's takes for a region.
const DEFAULT_REGION: &str = "us-east-1";

/// Makes the client of the store that `url` names; contacts no server.
///
/// # Errors
/// [`FaultKind::Misconfigured`]: the URL or a key is wrong.
pub(super) fn store(
    url: &str,
    hadoop: &HadoopSettings,
    call_timeout: Duration,
) -> Result<Arc<dyn ObjectStore>, FileSystemError> {
    let wrong = |reason: &str| with("open", url, FaultKind::Misconfigured, reason);
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.is_empty() || !SCHEMES.contains(&scheme) {
        return Err(wrong("a URL of a store is s3a://bucket/…, gs://bucket/… or abfs://…"));
    }
    let limits = Limits::new(call_timeout);
    let built = match scheme {
        "gs" => google(authority, hadoop, limits),
        "abfs" | "abfss" => azure(url, authority, hadoop, limits),
        _ => amazon(authority, hadoop, limits),
    };
    built.map_err(|error| FileSystemError {
        kind: FaultKind::Misconfigured,
        ..of_store("open", url, &error)
    })
}

/// How long requests may take.
struct Limits {
    options: ClientOptions,
    retry: RetryConfig,
}

impl Limits {
    fn new(call_timeout: Duration) -> Self {
        let options =
            ClientOptions::new().with_timeout(call_timeout).with_connect_timeout(call_timeout / 2);
        let backoff = BackoffConfig { max_backoff: Duration::from_secs(1), ..Default::default() };
        let retry = RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: call_timeout };
        Self { options, retry }
    }
}

type Built = object_store::Result<Arc<dyn ObjectStore>>;

fn amazon(bucket: &str, hadoop: &HadoopSettings, limits: Limits) -> Built {
    // A key of one bucket wins over that of all.
    let key = |name: &str| {
        let of_bucket = hadoop.get(&format!("fs.s3a.bucket.{bucket}.{name}"));
        of_bucket.or_else(|| hadoop.get(&format!("fs.s3a.{name}"))).filter(|text| !text.is_empty())
    };
    let is_on = |name: &str| key(name).map(|text| text.eq_ignore_ascii_case("true"));
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    if let Some(access_key) = key("access.key") {
        builder = builder.with_access_key_id(access_key);
    }
    if let Some(secret) = key("secret.key") {
        builder = builder.with_secret_access_key(secret);
    }
    if let Some(token) = key("session.token") {
        builder = builder.with_token(token);
    }
    let virtual_hosted = !is_on("path.style.access").unwrap_or(false);
    let mut plain = false;
    if let Some(endpoint) = key("endpoint") {
        let secure = is_on("connection.ssl.enabled").unwrap_or(true);
        let (scheme, host) = endpoint
            .split_once("://")
            .unwrap_or((if secure { "https" } else { "http" }, &endpoint));
        plain = scheme == "http";
        let host = host.trim_end_matches('/');
        let host = if virtual_hosted { format!("{bucket}.{host}") } else { host.to_owned() };
        builder = builder.with_endpoint(format!("{scheme}://{host}")).with_region(DEFAULT_REGION);
    }
    if let Some(region) = key("endpoint.region") {
        builder = builder.with_region(region);
    }
    let built = builder
        .with_virtual_hosted_style_request(virtual_hosted)
        .with_allow_http(plain)
        .with_client_options(limits.options.with_allow_http(plain))
        .with_retry(limits.retry)
        .build()?;
    Ok(Arc::new(built))
}

fn google(bucket: &str, hadoop: &HadoopSettings, limits: Limits) -> Built {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
    let keys = [
        "fs.gs.auth.service.account.json.keyfile",
        "google.cloud.auth.service.account.json.keyfile",
    ];
    if let Some(path) = keys.iter().find_map(|key| hadoop.get(key)) {
        builder = builder.with_service_account_path(path);
    }
    let built = builder.with_client_options(limits.options).with_retry(limits.retry).build()?;
    Ok(Arc::new(built))
}

fn azure(url: &str, authority: &str, hadoop: &HadoopSettings, limits: Limits) -> Built {
    let mut builder = MicrosoftAzureBuilder::from_env().with_url(url);
    let host = authority.split_once('@').map_or(authority, |(_, host)| host);
    let of_account = hadoop.get(&format!("fs.azure.account.key.{host}"));
    if let Some(key) = of_account.or_else(|| hadoop.get("fs.azure.account.key")) {
        builder = builder.with_access_key(key);
    }
    let built = builder.with_client_options(limits.options).with_retry(limits.retry).build()?;
    Ok(Arc::new(built))
}
