//! Losses in bursts and managed queues in the file, and what cannot be held by one interface.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{lab, read, texts};
use vnode_protocol::impairment::{Aqm, LossModel};

fn link(impair: &str) -> String {
    format!(
        "name: t\ntopology:\n  nodes: {{a: , b: }}\n  links:\n    - endpoints: [\"a:eth1\", \"b:eth1\"]\n      \
         impair: {impair}\n"
    )
}

#[test]
fn r11_a_loss_model_is_written_as_netem_has_it() {
    for text in ["{loss: gemodel 1% 10% 70% 0.1%}", "{loss: \"gemodel,1%,10%,70%,0.1%\"}"] {
        let lab = lab(&link(text));
        let model = LossModel { p: 0.01, r: 0.1, loss_in_bad: 0.7, loss_in_good: 0.001 };
        assert_eq!(lab.links[0].near.impair.loss_model, Some(model));
        assert_eq!(lab.links[0].far_impair().unwrap().loss_model, Some(model));
    }
    let refused = read(&link("{loss: gemodel lots}")).unwrap_err();
    assert!(
        texts(&refused.errors)[0]
            .starts_with("6: `loss: gemodel lots` is not a loss model such as")
    );
}

#[test]
fn r11_a_queue_is_managed_where_there_is_a_rate() {
    let lab = lab(&link("{rate: 1mbit, queue: 50, aqm: fq_codel}"));
    assert_eq!(lab.links[0].near.impair.aqm, Some(Aqm::FqCodel));
    let refused = read(&link("{delay: 1ms, aqm: codel}")).unwrap_err();
    assert!(
        texts(&refused.errors)[0].starts_with("6: `aqm` needs a `rate`"),
        "{:?}",
        refused.errors
    );
}

#[test]
fn r11_one_way_of_a_lan_holds_one_loss_model() {
    let lan = |members: &str| {
        format!(
            "name: t\ntopology:\n  nodes: {{a: , b: , c: }}\n  networks:\n    lan0:\n      members: {members}\n      \
             impair: {{loss: gemodel 1% 10%}}\n"
        )
    };
    let three = lab(&lan("[\"a:eth1\", \"b:eth1\", \"c:eth1\"]"));
    for member in &three.networks[0].members {
        assert!(member.to_lan.loss_model.is_some() && member.from_lan.is_perfect());
    }
    let own = "[{node: a, interface: eth1, to-lan: {delay: 1ms}}, \
               {node: b, interface: eth1, from-lan: {loss: gemodel 2% 20%}}]";
    let refused = read(&lan(own)).unwrap_err();
    assert_eq!(texts(&refused.errors), ["5: two loss models lie on one way of network `lan0`"]);
}
