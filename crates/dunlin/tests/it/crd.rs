//! Custom resources as an operator's users meet them, with kubectl.

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::support::World;

const DEFINITION: &str = include_str!("crd/certificates.yaml");

const CERTIFICATE: &str = "
apiVersion: pki.example.com/v1
kind: Certificate
metadata: {name: web}
spec:
  secretName: web-tls
  dnsNames: [web.example.com]
  issuer: {name: ours}
  keystores: {java: {create: true, port: http}}
  template: {anything: [1, {goes: here}]}
";

#[test]
fn a_custom_resource_is_like_any_other() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());

    ensure!(kubectl.apply(DEFINITION)?.contains("certificates.pki.example.com created"));
    run("wait --for=condition=Established crd/certificates.pki.example.com --timeout=10s")?;
    ensure!(kubectl.apply(DEFINITION)?.contains("unchanged"));
    ensure!(run("api-resources --api-group=pki.example.com")?.contains("crt"));

    let explained = run("explain certificate.spec")?;
    ensure!(
        explained.contains("What the certificate shall say.") && explained.contains("-required-"),
        "{explained}"
    );
    ensure!(run("explain crt.spec.secretName")?.contains("Where key and certificate are put."));

    ensure!(kubectl.apply(CERTIFICATE)?.contains("certificate.pki.example.com/web created"));
    ensure!(kubectl.apply(CERTIFICATE)?.contains("unchanged"));
    ensure!(kubectl.run_with(&["diff", "-f", "-"], CERTIFICATE)?.is_empty(), "diff finds nothing");
    ensure!(run("get crt web -o jsonpath={.spec.duration}/{.spec.issuer.kind}")? == "2160h/Issuer");
    let unknown = CERTIFICATE.replace("secretName: web-tls", "secretName: web-tls\n  secretname: x");
    let refused = kubectl.refused(&["apply", "-f", "-"], &unknown)?;
    ensure!(refused.contains("unknown field \"spec.secretname\""), "{refused}");
    let bad = CERTIFICATE.replace("web.example.com]", "web.example.com, web.example.com]");
    let refused = kubectl.refused(&["apply", "-f", "-"], &bad)?;
    ensure!(refused.contains("spec.dnsNames[1]: Duplicate value: \"web.example.com\""), "{refused}");

    let nameless = CERTIFICATE.replace("dnsNames: [web.example.com]", "dnsNames: []");
    let refused = kubectl.refused(&["apply", "-f", "-"], &nameless)?;
    ensure!(refused.contains("a certificate needs a name"), "{refused}");
    let moved = CERTIFICATE.replace("secretName: web-tls", "secretName: other");
    let refused = kubectl.refused(&["apply", "-f", "-"], &moved)?;
    ensure!(refused.contains("spec.secretName: Forbidden: secretName is web-tls for good"), "{refused}");

    let status = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}],"copies":1}}"#;
    kubectl.run(&["patch", "crt", "web", "--subresource=status", "--type=merge", "-p", status])?;
    let table = run("get crt")?;
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    ensure!(lines[0] == ["NAME", "READY", "SECRET", "AGE"], "{table}");
    ensure!(lines[1][..3] == ["web", "True", "web-tls"], "{table}");
    ensure!(run("get crt -o wide")?.contains("ours"));
    ensure!(run("get all")?.contains("certificate.pki.example.com/web"));
    ensure!(run("get pki -o name")?.contains("certificate.pki.example.com/web"));
    ensure!(run("get crt --field-selector spec.issuer.kind=ClusterIssuer -o name")?.is_empty());
    ensure!(run("get crt --field-selector spec.issuer.kind=Issuer -o name")?.contains("web"));
    ensure!(run("describe crt web")?.contains("web-tls"));
    run("wait --for=condition=Ready crt/web --timeout=5s")?;

    run("scale crt/web --replicas=4")?;
    ensure!(run("get crt web -o jsonpath={.spec.copies}")? == "4");
    run("label crt web tier=front")?;
    ensure!(run("get crt -l tier=front -o name")?.contains("web"));
    ensure!(
        run("get certificates.v1alpha1.pki.example.com web -o jsonpath={.apiVersion}")?
            == "pki.example.com/v1alpha1"
    );
    let owned = kubectl.run_with(
        &["apply", "--server-side", "--force-conflicts", "--field-manager=me", "-f", "-"],
        &CERTIFICATE.replace("[web.example.com]", "[web.example.com, www.example.com]"),
    )?;
    ensure!(owned.contains("serverside-applied"), "{owned}");
    kubectl.run(&[
        "patch",
        "crt",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/spec/commonName","value":"w"}]"#,
    ])?;
    let strategic = kubectl.refused(&["patch", "crt", "web", "--type=strategic", "-p", "{}"], "")?;
    ensure!(strategic.contains("is not supported by"), "{strategic}");
    Ok(())
}

#[test]
fn namespaces_owners_and_definitions_take_their_objects_along() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    kubectl.apply(DEFINITION)?;

    run("create namespace site")?;
    kubectl.run_with(&["apply", "-n", "site", "-f", "-"], CERTIFICATE)?;
    run("delete namespace site --timeout=60s")?;

    kubectl.apply(CERTIFICATE)?;
    let uid = run("get crt web -o jsonpath={.metadata.uid}")?;
    kubectl.apply(&format!(
        "
apiVersion: v1
kind: ConfigMap
metadata:
  name: owned
  ownerReferences: [{{apiVersion: pki.example.com/v1, kind: Certificate, name: web, uid: {uid}}}]
"
    ))?;
    run("delete crt web")?;
    wait::until("the owned ConfigMap is collected", PATIENCE, || {
        let left = run("get configmap owned --ignore-not-found -o name")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;

    kubectl.apply(CERTIFICATE)?;
    run("delete crd certificates.pki.example.com --timeout=60s")?;
    let refused = kubectl.refused(&["get", "crt"], "")?;
    ensure!(refused.contains("the server could not find the requested resource"), "{refused}");
    ensure!(!run("api-versions")?.contains("pki.example.com"));
    // A definition that comes back has no objects of its former life.
    kubectl.apply(DEFINITION)?;
    ensure!(run("get crt -o name")?.is_empty());
    Ok(())
}
