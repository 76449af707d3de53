//! What the server serves, and which of it a word like `deploy` or `pods` means.

use serde_json::Value;

use crate::{Error, request};

/// One served resource.
#[derive(Debug, Clone)]
pub struct Resource {
    /// API group, empty for the core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural name.
    pub plural: String,
    /// Kind.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    singular: String,
    short: Vec<String>,
}

impl Resource {
    /// The path of a collection or, with a name, of an object.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        let space =
            namespace.filter(|_| self.namespaced).map_or(String::new(), |n| format!("/namespaces/{n}"));
        let name = name.map_or(String::new(), |n| format!("/{n}"));
        format!("{root}{space}/{}{name}", self.plural)
    }

    /// `deployments.apps`, or `pods`.
    pub fn full_name(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    fn answers_to(&self, word: &str) -> bool {
        let (name, group) = word.split_once('.').map_or((word, None), |(n, g)| (n, Some(g)));
        let named = [&self.plural, &self.singular, &self.kind].iter().any(|n| n.eq_ignore_ascii_case(name))
            || self.short.iter().any(|s| s.eq_ignore_ascii_case(name));
        named && group.is_none_or(|g| g == self.group)
    }
}

/// Everything the server serves.
pub struct Resources(Vec<Resource>);

impl Resources {
    /// Asks the server (aggregated discovery).
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn discover(client: &kube::Client) -> Result<Self, Error> {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let mut all = Vec::new();
        for path in ["/api", "/apis"] {
            let asked = request(http::Method::GET, path, Vec::new(), &[("accept", accept)])?;
            let groups: Value =
                client.request(asked).await.map_err(Error::api("asking what the server serves"))?;
            for group in groups["items"].as_array().into_iter().flatten() {
                // The first version is the preferred one.
                let Some(version) = group["versions"].get(0) else { continue };
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                for resource in version["resources"].as_array().into_iter().flatten() {
                    all.push(Resource {
                        group: text(&group["metadata"]["name"]),
                        version: text(&version["version"]),
                        plural: text(&resource["resource"]),
                        kind: text(&resource["responseKind"]["kind"]),
                        namespaced: resource["scope"] == "Namespaced",
                        singular: text(&resource["singularResource"]),
                        short: resource["shortNames"].as_array().into_iter().flatten().map(text).collect(),
                    });
                }
            }
        }
        Ok(Self(all))
    }

    /// What a word means.
    ///
    /// # Errors
    /// When the server serves nothing of that name.
    pub fn find(&self, word: &str) -> Result<&Resource, Error> {
        self.0.iter().find(|resource| resource.answers_to(word)).ok_or_else(|| {
            Error::Input(format!(
                "the server has no resource called {word:?}; try pods, nodes or deployments"
            ))
        })
    }

    /// The resource of an object.
    ///
    /// # Errors
    /// When the server does not serve it.
    pub fn of_object(&self, object: &Value) -> Result<&Resource, Error> {
        let (api_version, kind) =
            (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
        let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
        self.0
            .iter()
            .find(|resource| resource.group == group && resource.kind == kind)
            .ok_or_else(|| Error::Input(format!("the server serves no {kind:?} in {api_version:?}")))
    }
}
