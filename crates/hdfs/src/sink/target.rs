//! The file system of `hdfs.path`, and what of it is on this machine.

#[cfg(feature = "parquet")]
use super::conversion::Conversion;
use super::keys::{HdfsSettings, Target};
use crate::file_system::FileSystem;
use crate::file_system::local::Local;
#[cfg(feature = "object-store")]
use crate::file_system::object::{Object, ObjectSettings};
#[cfg(feature = "parquet")]
use crate::file_system::spool::Spool;
#[cfg(feature = "native")]
use crate::file_system::{
    hadoop_settings::HadoopSettings,
    native::{Native, NativeSettings},
};
use millpond_flow::base::files;
use millpond_flow::sink::Failure;
#[cfg(feature = "native")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// Returns `text` as the name of a file.
pub(super) fn local_name(text: &str) -> String {
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    text.chars().map(|c| if legal(c) { c } else { '_' }).collect()
}

impl HdfsSettings {
    /// Returns the name of the file system in the ledger.
    pub(super) fn target_name(&self) -> String {
        match &self.target {
            Target::Local => "file:".to_owned(),
            Target::Default => String::new(),
            Target::Cluster(url) | Target::Store(url) => url.clone(),
        }
    }

    /// Returns the directory of this machine for the ledger and for files that are not written yet.
    pub(super) fn local_directory(&self) -> Option<PathBuf> {
        let default = || files::home_directory().map(|home| home.join(".flume/hdfs-sink"));
        self.state_directory.clone().or_else(default)
    }

    /// Returns the failure of a sink that needs that directory.
    pub(super) fn no_directory() -> Failure {
        Failure::new(
            "there is no directory for files that are not written yet: set hdfs.stateDirectory",
        )
    }

    /// Opens the file system of `hdfs.path`.
    ///
    /// # Errors
    /// Its client cannot be made.
    pub(super) fn file_system(&self) -> Result<Arc<dyn FileSystem>, Failure> {
        match &self.target {
            #[cfg(feature = "native")]
            Target::Cluster(url) => self.cluster(Some(url.clone())),
            #[cfg(feature = "native")]
            Target::Default => self.cluster(None),
            #[cfg(feature = "object-store")]
            Target::Store(url) => self.store(url),
            // Without their features the others are refused when settings are read.
            _ => Ok(Arc::new(Local)),
        }
    }

    /// Returns `files` or, where files are made from a spool or were before, a file system around it that does that.
    /// `name` is that of the sink's ledger.
    ///
    /// # Errors
    /// There is no directory for the spool.
    pub(super) fn converting(
        &self,
        files: Arc<dyn FileSystem>,
        name: &str,
    ) -> Result<Arc<dyn FileSystem>, Failure> {
        let is_spooled = self.format.is_spooled();
        let Some(directory) = self.local_directory() else {
            return if is_spooled { Err(Self::no_directory()) } else { Ok(files) };
        };
        let target = local_name(&format!("at {}", self.target_name()));
        let directory = directory.join("parquet").join(name).join(target);
        #[cfg(feature = "parquet")]
        {
            let spool = Spool::new(directory, self.spool_bytes_max);
            if is_spooled || spool.has_files() {
                let (limit, suffix) = (self.call_timeout, &self.names.in_use_suffix);
                return Ok(Arc::new(Conversion::new(files, limit, spool, is_spooled, suffix)));
            }
        }
        #[cfg(not(feature = "parquet"))]
        if directory.exists() {
            return Err(Failure::new(format!(
                "{} has events of Parquet files, which this build cannot make: use a build with the feature parquet, or move the directory away",
                directory.display()
            )));
        }
        Ok(files)
    }

    #[cfg(feature = "object-store")]
    fn store(&self, url: &str) -> Result<Arc<dyn FileSystem>, Failure> {
        let Some(directory) = self.local_directory() else { return Err(Self::no_directory()) };
        let object = Object::open(ObjectSettings {
            url: url.to_owned(),
            directory: self.config_directory.clone(),
            call_timeout: self.call_timeout,
            spool: directory.join("spool").join(local_name(url)),
            spool_bytes_max: self.spool_bytes_max,
        });
        object
            .map(|object| Arc::new(object) as Arc<dyn FileSystem>)
            .map_err(|error| Failure::caused("the client of the store cannot be made", error))
    }

    #[cfg(feature = "native")]
    fn cluster(&self, url: Option<String>) -> Result<Arc<dyn FileSystem>, Failure> {
        let directory = self.config_directory.clone().or_else(HadoopSettings::default_directory);
        if url.is_none() && is_local(directory.as_deref())? {
            return Ok(Arc::new(Local));
        }
        let native = Native::open(NativeSettings {
            url,
            directory,
            call_timeout: self.call_timeout,
            principal: self.principal.clone(),
            keytab: self.keytab.clone(),
            proxy_user: self.proxy_user.clone(),
        });
        native
            .map(|native| Arc::new(native) as Arc<dyn FileSystem>)
            .map_err(|error| Failure::caused("the client of HDFS cannot be made", error))
    }
}

/// Returns whether paths without a scheme are on this machine, as they are in Hadoop without a configuration.
#[cfg(feature = "native")]
fn is_local(directory: Option<&Path>) -> Result<bool, Failure> {
    let Some(directory) = directory else { return Ok(true) };
    let settings = HadoopSettings::read(directory)
        .map_err(|error| Failure::caused("Hadoop's configuration cannot be read", error))?;
    Ok(settings.get("fs.defaultFS").is_none_or(|url| url.starts_with("file:")))
}
