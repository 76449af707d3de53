//! `get`: objects as the server's table, as JSON or as YAML.

use serde_json::Value;

use crate::connect::Connection;
use crate::resource::Resources;
use crate::{Error, Output, print, request};

/// What to get.
#[derive(Debug, Clone, Default)]
pub struct Get {
    /// `pods`, `deploy`, `pods/name`, ...
    pub resource: String,
    /// One object.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// All namespaces.
    pub all_namespaces: bool,
    /// Label selector.
    pub selector: Option<String>,
    /// How to print.
    pub output: Output,
    /// Go on with changes as they come.
    pub watch: bool,
}

/// Gets and prints.
///
/// # Errors
/// When the server refuses.
pub async fn run(connection: &Connection, get: &Get) -> Result<(), Error> {
    let resources = Resources::discover(&connection.client).await?;
    let (word, slashed) =
        get.resource.split_once('/').map_or((get.resource.as_str(), None), |(w, n)| (w, Some(n)));
    let name = get.name.as_deref().or(slashed);
    let resource = resources.find(word)?;
    let namespace = get.namespace.as_deref().unwrap_or(&connection.namespace);
    let space = (!get.all_namespaces).then_some(namespace);
    let mut path = resource.path(space, name);
    if let (Some(selector), None) = (&get.selector, name) {
        path.push_str("?labelSelector=");
        path.push_str(&escaped(selector));
    }
    let accept = match get.output {
        Output::Table | Output::Wide => "application/json;as=Table;v=v1;g=meta.k8s.io",
        _ => "application/json",
    };
    let asked = request(http::Method::GET, &path, Vec::new(), &[("accept", accept)])?;
    let answer: Value =
        connection.client.request(asked).await.map_err(Error::api(format!("getting {}", get.resource)))?;
    let mut shape = Shape {
        output: get.output,
        namespaces: get.all_namespaces && resource.namespaced,
        resource: resource.full_name(),
        widths: Vec::new(),
        columns: Vec::new(),
    };
    shape.print(&answer, get.watch)?;
    if !get.watch {
        return Ok(());
    }
    let mut query = vec![format!("watch=true&resourceVersion={}", crate::watch::version(&answer))];
    if let Some(name) = name {
        query.push(format!("fieldSelector={}", escaped(&format!("metadata.name={name}"))));
    } else if let Some(selector) = &get.selector {
        query.push(format!("labelSelector={}", escaped(selector)));
    }
    let path = format!("{}?{}", resource.path(space, None), query.join("&"));
    crate::watch::run(connection, &path, accept, |object| shape.print(object, true)).await
}

fn escaped(text: &str) -> String {
    let escape =
        |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(escape).collect()
}

/// How answers are printed, one after the other.
struct Shape {
    output: Output,
    namespaces: bool,
    resource: String,
    /// Of the columns printed first: rows that come later line up with them.
    widths: Vec<usize>,
    columns: Vec<usize>,
}

impl Shape {
    fn print(&mut self, answer: &Value, watching: bool) -> Result<(), Error> {
        match self.output {
            Output::Json | Output::Yaml if watching && answer["items"].is_array() => {
                for item in answer["items"].as_array().into_iter().flatten() {
                    self.document(item)?;
                }
                Ok(())
            }
            Output::Json | Output::Yaml if watching => self.document(answer),
            Output::Json | Output::Yaml => print(answer, self.output),
            Output::Name => {
                let one = [answer.clone()];
                for object in answer["items"].as_array().map_or(&one[..], Vec::as_slice) {
                    println!("{}/{}", self.resource, object["metadata"]["name"].as_str().unwrap_or_default());
                }
                Ok(())
            }
            Output::Table | Output::Wide => {
                self.table(answer, watching);
                Ok(())
            }
        }
    }

    /// One of several documents.
    fn document(&self, object: &Value) -> Result<(), Error> {
        if self.output == Output::Yaml {
            println!("---");
        }
        print(object, self.output)
    }

    fn table(&mut self, answer: &Value, watching: bool) {
        let mut rows = Vec::new();
        // Later answers of a watch may leave the columns out.
        if let Some(definitions) = answer["columnDefinitions"].as_array().filter(|_| self.columns.is_empty())
        {
            let wide = self.output == Output::Wide;
            let shown = |(_, c): &(usize, &Value)| wide || c["priority"].as_i64().unwrap_or(0) == 0;
            let columns: Vec<(usize, &Value)> = definitions.iter().enumerate().filter(shown).collect();
            self.columns = columns.iter().map(|(n, _)| *n).collect();
            let names = columns.iter().map(|(_, c)| c["name"].as_str().unwrap_or_default().to_uppercase());
            rows.push(
                self.namespaces.then(|| "NAMESPACE".to_owned()).into_iter().chain(names).collect::<Vec<_>>(),
            );
        }
        let header = rows.len();
        for row in answer["rows"].as_array().into_iter().flatten() {
            let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let namespace = self.namespaces.then(|| cell(&row["object"]["metadata"]["namespace"]));
            rows.push(
                namespace.into_iter().chain(self.columns.iter().map(|n| cell(&row["cells"][*n]))).collect(),
            );
        }
        if rows.len() == header && !watching {
            println!("No resources found");
            return;
        }
        if self.widths.is_empty() {
            self.widths = widths(&rows);
        }
        print!("{}", lines(&rows, &self.widths));
    }
}

/// Rows as aligned columns.
pub fn align(rows: &[Vec<String>]) -> String {
    lines(rows, &widths(rows))
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let width = |n: usize| {
        rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    (0..rows.first().map_or(0, Vec::len)).map(width).collect()
}

fn lines(rows: &[Vec<String>], widths: &[usize]) -> String {
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows =
            [vec!["NAME".to_owned(), "AGE".to_owned()], vec!["a-long-name".to_owned(), "5s".to_owned()]];
        assert_eq!(align(&rows), "NAME          AGE\na-long-name   5s\n");
    }
}
