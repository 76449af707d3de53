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
}

/// Gets and prints.
///
/// # Errors
/// When the server refuses.
pub async fn run(connection: &Connection, get: &Get) -> Result<(), Error> {
    let resources = Resources::discover(&connection.client).await?;
    let (word, slashed) = get.resource.split_once('/').map_or((get.resource.as_str(), None), |(w, n)| (w, Some(n)));
    let name = get.name.as_deref().or(slashed);
    let resource = resources.find(word)?;
    let namespace = get.namespace.as_deref().unwrap_or(&connection.namespace);
    let mut path = resource.path((!get.all_namespaces).then_some(namespace), name);
    if let (Some(selector), None) = (&get.selector, name) {
        path.push_str("?labelSelector=");
        path.extend(selector.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }));
    }
    let accept = match get.output {
        Output::Table | Output::Wide => "application/json;as=Table;v=v1;g=meta.k8s.io",
        _ => "application/json",
    };
    let asked = request(http::Method::GET, &path, Vec::new(), &[("accept", accept)])?;
    let answer: Value = connection.client.request(asked).await.map_err(Error::api(format!("getting {}", get.resource)))?;
    match get.output {
        Output::Json | Output::Yaml => print(&answer, get.output),
        Output::Name => {
            let one = [answer.clone()];
            for object in answer["items"].as_array().map_or(&one[..], Vec::as_slice) {
                println!("{}/{}", resource.full_name(), object["metadata"]["name"].as_str().unwrap_or_default());
            }
            Ok(())
        }
        Output::Table | Output::Wide => {
            table(&answer, get.output == Output::Wide, get.all_namespaces && resource.namespaced);
            Ok(())
        }
    }
}

fn table(answer: &Value, wide: bool, namespaces: bool) {
    let columns: Vec<(usize, &str)> = answer["columnDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, c)| wide || c["priority"].as_i64().unwrap_or(0) == 0)
        .map(|(n, c)| (n, c["name"].as_str().unwrap_or_default()))
        .collect();
    let mut header: Vec<String> = columns.iter().map(|(_, name)| name.to_uppercase()).collect();
    if namespaces {
        header.insert(0, "NAMESPACE".to_owned());
    }
    let mut rows = vec![header];
    for row in answer["rows"].as_array().into_iter().flatten() {
        let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut cells: Vec<String> = columns.iter().map(|(n, _)| cell(&row["cells"][n])).collect();
        if namespaces {
            cells.insert(0, cell(&row["object"]["metadata"]["namespace"]));
        }
        rows.push(cells);
    }
    if rows.len() == 1 {
        println!("No resources found");
    } else {
        print!("{}", align(&rows));
    }
}

/// Rows as aligned columns.
pub fn align(rows: &[Vec<String>]) -> String {
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
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
        let rows = [vec!["NAME".to_owned(), "AGE".to_owned()], vec!["a-long-name".to_owned(), "5s".to_owned()]];
        assert_eq!(align(&rows), "NAME          AGE\na-long-name   5s\n");
    }
}
