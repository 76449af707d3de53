//! Why an apply is refused, in Kubernetes' words.

use std::fmt;

/// One field that somebody else owns and this apply would change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The owner as messages name it: `"kubectl" using apps/v1`.
    pub manager: String,
    /// The field: `.spec.replicas`.
    pub path: String,
}

/// All conflicts of an apply; never empty. `Display` is the message of the `Status`, whose code is 409.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts {
    conflicts: Vec<Conflict>,
}

/// Why an apply failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Others own what would change (409, reason `Conflict`).
    #[error("{0}")]
    Conflicts(Conflicts),
    /// The configuration does not fit the schema of its kind (500, without a reason).
    #[error("{0}")]
    Untyped(String),
    /// The configuration cannot be applied at all (400, reason `BadRequest`).
    #[error("{0}")]
    Invalid(String),
}

impl Conflicts {
    /// The reason of each cause in the `Status`.
    pub const CAUSE: &'static str = "FieldManagerConflict";

    pub(super) fn new(mut conflicts: Vec<Conflict>) -> Self {
        // By manager; the fields of one manager stay in the order of their paths.
        conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
        Self { conflicts }
    }

    /// The conflicts, by manager.
    pub fn iter(&self) -> impl Iterator<Item = &Conflict> {
        self.conflicts.iter()
    }

    /// Field and message of each cause of the `Status`; the reason of all is [`Conflicts::CAUSE`].
    pub fn causes(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.conflicts.iter().map(|c| (c.path.clone(), format!("conflict with {}", c.manager)))
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.conflicts.as_slice() {
            return write!(f, "Apply failed with 1 conflict: conflict with {}: {}", only.manager, only.path);
        }
        write!(f, "Apply failed with {} conflicts: ", self.conflicts.len())?;
        let mut manager = None;
        for (index, conflict) in self.conflicts.iter().enumerate() {
            if manager != Some(&conflict.manager) {
                let end = if index == 0 { "" } else { "\n" };
                write!(f, "{end}conflicts with {}:", conflict.manager)?;
                manager = Some(&conflict.manager);
            }
            write!(f, "\n- {}", conflict.path)?;
        }
        Ok(())
    }
}
