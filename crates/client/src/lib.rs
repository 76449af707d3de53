//! The verbs of the command line, over any Kubernetes API: an ordinary client without a back door.
//!
//! Each verb prints to standard output what a person or (with `-o json|yaml`) a program wants, and fails with an error
//! that says what the server said.

pub mod apply;
pub mod connect;
pub mod delete;
pub mod deploy;
pub mod describe;
pub mod exec;
pub mod get;
pub mod jobs;
pub mod logs;
pub mod migrate;
pub mod replicate;
pub mod resource;
pub mod status;
pub mod terminate;
pub mod token;
mod watch;

/// What can go wrong with a verb.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the user gave is wrong.
    #[error("{0}")]
    Input(String),
    /// The API refused.
    #[error("{doing}: {message}")]
    Refused {
        /// What was being done.
        doing: String,
        /// What the server said.
        message: String,
        /// The HTTP status code.
        code: u16,
    },
    /// The API could not be reached, or answered something that is no answer.
    #[error("{doing}")]
    Api {
        /// What was being done.
        doing: String,
        /// What the client said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A file or the terminal.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| match source {
            // The client's own words would repeat the whole status object.
            kube::Error::Api(status) => Self::Refused { doing, message: words(&status), code: status.code },
            source => Self::Api { doing, source: Box::new(source) },
        }
    }

    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// The server's words; its reason and code where it has none.
fn words(status: &kube::core::Status) -> String {
    let all = [status.message.as_str(), status.reason.as_str()];
    all.into_iter()
        .find(|text| !text.is_empty())
        .map_or_else(|| format!("HTTP status {}", status.code), str::to_owned)
}

/// How a verb prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// `resource/name` lines.
    Name,
}

impl std::str::FromStr for Output {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "table" => Ok(Self::Table),
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            _ => Err("use wide, json, yaml or name".to_owned()),
        }
    }
}

/// Prints a value as JSON or YAML.
///
/// # Errors
/// When it cannot be written so.
pub fn print(value: &impl serde::Serialize, output: Output) -> Result<(), Error> {
    let text = match output {
        Output::Yaml => {
            serde_saphyr::to_string(value).map_err(|e| Error::Input(format!("writing YAML: {e}")))?
        }
        _ => serde_json::to_string_pretty(value).map_err(|e| Error::Input(format!("writing JSON: {e}")))?,
    };
    println!("{}", text.trim_end());
    Ok(())
}

/// The request of a path, for calls that have no typed form.
pub(crate) fn request(
    method: http::Method,
    path: &str,
    body: Vec<u8>,
    headers: &[(&str, &str)],
) -> Result<http::Request<Vec<u8>>, Error> {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).map_err(|e| Error::Input(format!("{path}: {e}")))
}

/// The objects of a collection; none where the server does not serve it.
pub(crate) async fn list(
    connection: &connect::Connection,
    path: &str,
) -> Result<Vec<serde_json::Value>, Error> {
    let asked = request(http::Method::GET, path, Vec::new(), &[])?;
    match connection.client.request::<serde_json::Value>(asked).await {
        Ok(mut answer) => Ok(answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(Error::api(format!("getting {path}"))(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_server_said_and_nothing_twice() {
        let status =
            kube::core::Status { message: "pods \"x\" not found".into(), code: 404, ..Default::default() };
        let error = Error::api("getting pods")(kube::Error::Api(Box::new(status)));
        assert_eq!(dunlin_base::error::chain(&error), "getting pods: pods \"x\" not found");
    }
}
