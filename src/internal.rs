//! Parts of the engine for the other crates of this project: the simulator, the tools, the agent. They
//! are not part of the public interface, and change in any version.

pub mod base {
    pub use crate::base::*;
}
pub mod channel {
    pub use crate::channel::*;
}
pub mod disk {
    pub use crate::disk::*;
}
pub mod event {
    pub use crate::event::*;
}
pub mod layout {
    pub use crate::layout::*;
}
pub mod log {
    pub use crate::log::*;
}
pub mod record {
    pub use crate::record::*;
}
pub mod recovery {
    pub use crate::recovery::*;
}
