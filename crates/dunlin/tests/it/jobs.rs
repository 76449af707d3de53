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

#[test]
fn indexed_jobs_know_their_index_and_policies_end_jobs() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    let script = |name: &str, more: &str, script: &str| {
        format!(
            "
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
{more}
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers: [{{name: main, image: 'busybox:test', command: [/bin/sh, -c, '{script}']}}]
---
"
        )
    };
    let indexed = "  completionMode: Indexed\n  completions: 3\n  parallelism: 3";
    kubectl.apply(&script("each", indexed, "echo index $JOB_COMPLETION_INDEX on $(hostname)"))?;
    run("wait --for=condition=Complete job/each --timeout=90s")?;
    ensure!(run("get job each -o jsonpath={.status.completedIndexes}")? == "0-2");
    let pod = run("get pods -l job-name=each,batch.kubernetes.io/job-completion-index=2 -o name")?;
    ensure!(kubectl.run(&["logs", pod.trim()])?.contains("index 2 on each-2"));
    // A pod whose job has counted it can be deleted, and takes nothing from the count.
    run("delete pods -l job-name=each --timeout=60s")?;
    ensure!(run("get job each -o jsonpath={.status.succeeded}")? == "3");

    let fatal = "  podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [42]}}]}";
    kubectl.apply(&script("fatal", fatal, "exit 42"))?;
    run("wait --for=condition=Failed job/fatal --timeout=90s")?;
    let text = run("get job fatal -o jsonpath={.status.conditions[?(@.type==\"Failed\")].message}")?;
    has(&text, &["Container main for pod default/fatal-", "exit code 42 matching FailJob rule at index 0"])?;

    let leader = format!(
        "{indexed}\n  successPolicy: {{rules: [{{succeededIndexes: '1'}}]}}\n  ttlSecondsAfterFinished: 3"
    );
    let work = "test $JOB_COMPLETION_INDEX = 1 || sleep 600";
    kubectl.apply(&script("leader", &leader, work))?;
    run("wait --for=condition=SuccessCriteriaMet job/leader --timeout=90s")?;
    wait::until("the job gone after its time to live, with its pods", PATIENCE, || {
        ensure!(run("get jobs -o name")? == "job.batch/each\njob.batch/fatal\n");
        ensure!(run("get pods -l job-name=leader -o name")?.is_empty());
        Ok(())
    })?;

    // Suspended from the start; then deleted while it runs, without its pods being held back.
    kubectl.apply(&script("later", "  suspend: true", "sleep 600"))?;
    run("wait --for=condition=Suspended job/later --timeout=60s")?;
    run(r#"patch job later -p {"spec":{"suspend":false}}"#)?;
    run("wait --for=jsonpath={.status.ready}=1 job/later --timeout=60s")?;
    run("delete job later --timeout=60s")?;
    wait::until("no pod left", PATIENCE, || {
        ensure!(run("get pods -l job-name=later -o name")?.is_empty());
        Ok(())
    })
}
