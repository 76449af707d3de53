//! Jobs and CronJobs with kubectl.

use std::time::Duration;

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::support::{World, has};

#[test]
fn a_cron_job_runs_on_time_by_hand_and_keeps_few() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    let cron = |schedule: &str, zone: &str| {
        format!(
            "
apiVersion: batch/v1
kind: CronJob
metadata: {{name: tick}}
spec:
  schedule: '{schedule}'
  timeZone: '{zone}'
  successfulJobsHistoryLimit: 0
  jobTemplate:
    metadata: {{labels: {{app: tick}}}}
    spec:
      template:
        spec: {{restartPolicy: Never, containers: [{{name: c, image: 'hello:test', args: [print, '1']}}]}}
"
        )
    };
    let refused = kubectl.refused(&["apply", "-f", "-"], &cron("61 * * * *", "Atlantis/Capital"))?;
    has(
        &refused,
        &[
            "spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61",
            "spec.timeZone: Invalid value: \"Atlantis/Capital\": unknown time zone Atlantis/Capital",
        ],
    )?;
    kubectl.apply(&cron("* * * * *", "Europe/Vienna"))?;
    // At the next full minute; the job is tidied up at once.
    wait::until("a run that was tidied up", Duration::from_secs(120), || {
        let cron = kubectl.json(&["cronjob", "tick"])?;
        ensure!(cron["status"]["lastSuccessfulTime"].is_string(), "{}", cron["status"]);
        ensure!(cron["status"]["active"].as_array().is_none_or(Vec::is_empty), "{}", cron["status"]);
        ensure!(run("get jobs -o name")?.is_empty());
        Ok(())
    })?;
    run(r#"patch cronjob tick -p {"spec":{"suspend":true}}"#)?;
    has(&run("get cronjob tick")?, &["* * * * *", "Europe/Vienna", "True"])?;
    run(r#"patch cronjob tick -p {"spec":{"successfulJobsHistoryLimit":1}}"#)?;
    run("create job by-hand --from=cronjob/tick")?;
    run("wait --for=condition=Complete job/by-hand --timeout=60s")?;
    has(&run("describe cronjob tick")?, &["SuccessfulCreate", "SawCompletedJob", "SuccessfulDelete"])?;
    run("delete cronjob tick --timeout=60s")?;
    wait::until("its jobs gone", PATIENCE, || {
        ensure!(run("get jobs,pods -o name")?.is_empty());
        Ok(())
    })
}
