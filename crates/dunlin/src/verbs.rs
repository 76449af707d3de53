//! The verbs that talk to an API.

use std::time::Duration;

use dunlin_client::connect::connect;
use dunlin_client::delete::Delete;
use dunlin_client::deploy::{Deploy, Pins};
use dunlin_client::exec::Exec;
use dunlin_client::get::Get;
use dunlin_client::migrate::Migrate;
use dunlin_client::{
    Error as ClientError, apply, delete, deploy, describe, exec, get, jobs, logs, migrate, replicate, status,
    terminate, token,
};
use kube::api::LogParams;

use crate::Error;
use crate::flags::{self, Command, Global, Token};

/// Runs a verb; the number is the exit code.
pub async fn run(verb: Command, global: &Global) -> Result<u8, Error> {
    let connection = connect(global.kubeconfig.as_deref(), &global.data_dir()).await?;
    match verb {
        Command::Get { resource, name, space, all_namespaces, selector, output, watch } => {
            get::run(
                &connection,
                &Get { resource, name, namespace: space.namespace, all_namespaces, selector, output, watch },
            )
            .await?;
        }
        Command::Describe { resource, name, space } => {
            describe::run(&connection, &resource, &name, space.namespace.as_deref()).await?;
        }
        Command::Apply { filename, space } => {
            apply::run(&connection, &filename, space.namespace.as_deref()).await?
        }
        Command::Delete { resource, name, filename, space, grace_period, wait: _, no_wait } => {
            if resource.is_none() && filename.is_empty() {
                return Err(
                    ClientError::Input("say what to delete: RESOURCE NAME, or -f FILE".to_owned()).into()
                );
            }
            let object = resource.zip(name);
            let all = Delete {
                object,
                files: filename,
                namespace: space.namespace,
                grace: grace_period,
                wait: !no_wait,
            };
            delete::run(&connection, &all).await?;
        }
        Command::Logs { pod, space, container, follow, tail, since, previous, timestamps } => {
            let params = LogParams {
                container,
                follow,
                tail_lines: tail,
                since_seconds: since.as_deref().map(seconds).transpose()?,
                previous,
                timestamps,
                ..LogParams::default()
            };
            logs::run(&connection, &pod, space.namespace.as_deref(), params).await?;
        }
        Command::Exec { pod, space, container, stdin, tty, command } => {
            let code = exec::run(
                &connection,
                &Exec { pod, namespace: space.namespace, container, stdin, tty, command },
            )
            .await?;
            return Ok(u8::try_from(code).unwrap_or(1));
        }
        Command::Deploy(flags) => deploy::run(&connection, &deployment(flags)?).await?,
        Command::Jobs { space, all_namespaces, output, watch } => {
            jobs::run(&connection, space.namespace.as_deref(), all_namespaces, output, watch).await?;
        }
        Command::Terminate { job, space, no_wait } => {
            terminate::run(&connection, &job, space.namespace.as_deref(), !no_wait).await?;
        }
        Command::Replicate { job, copies, across, space } => {
            replicate::run(&connection, &job, space.namespace.as_deref(), copies, across).await?;
        }
        Command::Migrate { what, to, timeout, no_wait, space } => {
            let timeout = timeout.as_deref().map(patience).transpose()?;
            let wait = !no_wait;
            migrate::run(&connection, &Migrate { what, to, namespace: space.namespace, timeout, wait })
                .await?;
        }
        Command::Status { output } => status::run(&connection, output).await?,
        Command::Token(Token::Create { ttl, purpose, description }) => {
            let new = token::New { purpose, ttl: duration(&ttl)?, description };
            token::create(&connection, &new, dunlin_app::fingerprint).await?;
        }
        Command::Token(Token::List { output }) => token::list(&connection, output).await?,
        Command::Token(Token::Revoke { token }) => token::revoke(&connection, &token).await?,
        Command::Server(_)
        | Command::Agent(_)
        | Command::Image(_)
        | Command::Reset { .. }
        | Command::Simulate { .. }
        | Command::Completion { .. } => {}
    }
    Ok(0)
}

fn deployment(flags: flags::Deploy) -> Result<Deploy, ClientError> {
    Ok(Deploy {
        wait: flags.wait.then(|| patience(&flags.timeout)).transpose()?,
        files: flags.files,
        namespace: flags.space.namespace,
        pins: Pins { cluster: flags.cluster, machine: flags.machine, area: flags.area },
        output: flags.output,
        dry_run: flags.dry_run,
    })
}

/// A duration, or a plain number of seconds.
fn patience(text: &str) -> Result<Duration, ClientError> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    duration(&if plain { format!("{text}s") } else { text.to_owned() })
}

fn seconds(text: &str) -> Result<i64, ClientError> {
    Ok(i64::try_from(patience(text)?.as_secs()).unwrap_or(i64::MAX))
}

/// `90s`, `30m`, `24h`, `7d`.
fn duration(text: &str) -> Result<Duration, ClientError> {
    dunlin_api::duration::parse(text).map_err(|e| ClientError::Input(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        assert_eq!((seconds("90").unwrap(), seconds("5m").unwrap()), (90, 300));
        assert_eq!(seconds("1.5h").unwrap(), 5400);
        assert!(seconds("soon").is_err());
    }
}
