use dunlin_api::flowcontrol;
use futures_util::FutureExt;

use super::*;

fn flow(total: usize) -> Arc<Flow> {
    let flow = Arc::new(Flow::default());
    flow.apply(settle::plan(&flowcontrol::schemas(), &flowcontrol::levels(), total));
    flow
}

fn class(flow: &Flow, user: &str, groups: &[&str]) -> Class {
    let asked = Asked { verb: "list", is_resource: true, resource: "pods".into(), ..Asked::default() };
    flow.classify(&User::new(user, groups), &asked, "/api/v1/pods").unwrap()
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn every_level_has_its_share() {
    let flow = flow(200);
    let page = flow.page();
    for (level, seats) in
        [("catch-all", 5), ("global-default", 17), ("node-high", 33), ("system", 25), ("workload-low", 82)]
    {
        let line = format!("nominal_limit_seats{{priority_level=\"{level}\"}} {seats}\n");
        assert!(page.contains(&line), "{line} in {page}");
    }
}

#[tokio::test]
async fn a_client_that_takes_all_leaves_its_neighbour_a_place() {
    let flow = flow(12);
    // A twelfth of the places: one.
    let (noisy, polite) =
        (class(&flow, "noisy", &["system:authenticated"]), class(&flow, "polite", &["system:authenticated"]));
    let first = flow.enter(&noisy, LONG).await.unwrap().unwrap();
    let mut refused = 0;
    let mut waiting: Vec<_> = (0..500).map(|_| Box::pin(flow.enter(&noisy, LONG))).collect();
    waiting.retain_mut(|turn| match turn.as_mut().now_or_never() {
        Some(answer) => {
            assert_eq!(answer.unwrap_err(), "queue-full");
            refused += 1;
            false
        }
        None => true,
    });
    // Six queues of fifty are its own.
    assert_eq!(refused, 200);
    let mut turn = Box::pin(flow.enter(&polite, LONG));
    assert!(turn.as_mut().now_or_never().is_none());
    drop(first);
    let mut served = 0;
    let _place = loop {
        if let Some(place) = turn.as_mut().now_or_never() {
            break place.unwrap();
        }
        let mut next = None;
        waiting.retain_mut(|other| {
            if next.is_none() {
                next = other.as_mut().now_or_never();
                return next.is_none();
            }
            true
        });
        served += 1;
        assert!(served <= 6, "six queues of the other were served before it once each, and no more");
        drop(next.unwrap());
    };
    assert!(flow.page().contains("reason=\"queue-full\"} 200\n"));
}

#[tokio::test]
async fn who_goes_away_gives_his_place_back() {
    let flow = flow(12);
    let jane = class(&flow, "jane", &["system:authenticated"]);
    let first = flow.enter(&jane, LONG).await.unwrap();
    let mut gone = Box::pin(flow.enter(&jane, LONG));
    assert!(gone.as_mut().now_or_never().is_none());
    let mut called = Box::pin(flow.enter(&jane, LONG));
    assert!(called.as_mut().now_or_never().is_none());
    // One leaves the queue, the other when it is his turn.
    drop(gone);
    drop(first);
    drop(called);
    assert!(flow.enter(&jane, LONG).now_or_never().is_some());
    assert!(flow.page().contains("current_inqueue_requests{priority_level=\"global-default\"} 0\n"));
}

#[tokio::test]
async fn who_waits_too_long_is_refused() {
    let flow = flow(12);
    let jane = class(&flow, "jane", &["system:authenticated"]);
    let _first = flow.enter(&jane, LONG).await.unwrap();
    assert_eq!(flow.enter(&jane, Duration::from_millis(1)).await.unwrap_err(), "time-out");
    assert!(flow.page().contains("current_inqueue_requests{priority_level=\"global-default\"} 0\n"));
}

#[tokio::test]
async fn administrators_never_wait() {
    let flow = flow(1);
    let admin = class(&flow, "admin", &["system:masters"]);
    for _ in 0..1000 {
        assert!(flow.enter(&admin, LONG).now_or_never().unwrap().unwrap().is_none());
    }
}
