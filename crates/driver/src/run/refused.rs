//! What a controller could not make, told where a person looks: in an event about the object that wants it.

use dunlin_control::controllers::common;
use dunlin_control::plan::Action;

use super::{Loop, Purpose, seconds};
use crate::controllers::{CRON_JOB, DAEMON_SET, JOB, REPLICA_SET, STATEFUL_SET};
use crate::execute::{Absent, Outcome};
use crate::work::Id;

/// Controllers that make pods or jobs, as their events name them.
const TOLD: &[(usize, &str)] = &[
    (CRON_JOB, "cronjob-controller"),
    (DAEMON_SET, "daemonset-controller"),
    (JOB, "job-controller"),
    (REPLICA_SET, "replicaset-controller"),
    (STATEFUL_SET, "statefulset-controller"),
];

impl Loop {
    /// Tells of the first creation that the server refused for good reason: quota, limits, validation. Whoever was merely
    /// faster is not worth a word.
    pub(super) fn tell_refusal(&mut self, id: &Id, outcome: &Outcome) {
        let Some((_, component)) = TOLD.iter().find(|(controller, _)| *controller == id.0) else { return };
        let Some(message) = outcome.errors.iter().find_map(|error| error.refused_creation()) else { return };
        let Some(object) = self.cluster.view.objects.get(&id.1) else { return };
        let text = format!("Error creating: {message}");
        let event: Action = common::warning(&id.1, &object.metadata, component, "FailedCreate", text);
        self.bindings_under_way += 1;
        let purpose = Purpose::Tell;
        self.write(self.writes.clone(), purpose, vec![event], Absent::new(), seconds());
    }
}
