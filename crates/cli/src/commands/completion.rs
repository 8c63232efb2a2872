//! `vnode completion`, and the names that the scripts ask for.

use clap::CommandFactory;
use clap_complete::Shell;
use vnode_lifecycle::view::NodeView;

use crate::args::Cli;
use crate::client::Client;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result {
    let script = script(args.shell);
    if context.output.json {
        let shell = args.shell.to_string();
        context.output.json(&serde_json::json!({ "shell": shell, "script": script }))?;
    } else {
        context.output.text(&script)?;
    }
    Ok(0)
}

/// The script for a shell; in bash and fish, names of nodes are completed too.
pub(crate) fn script(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vnode", &mut text);
    let mut text = String::from_utf8(text).expect("completion scripts are text");
    match shell {
        Shell::Bash => text.push_str(BASH),
        Shell::Fish => text.push_str(FISH),
        _ => {}
    }
    text
}

/// After the words that clap knows: where a command takes a node, the nodes there are.
const BASH: &str = r#"
_vnode_nodes() {
    _vnode "$@"
    case "${COMP_WORDS[1]}" in
        exec|shell|sh|console|logs|boot|start|halt|stop|reboot|restart|pause|resume|save|restore|screenshot|destroy|state|wait|mount|unmount|inspect)
            if [[ "${COMP_WORDS[COMP_CWORD]}" != -* && $COMP_CWORD -eq 2 ]]; then
                COMPREPLY+=($(compgen -W "$(vnode __complete 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
            fi
            ;;
    esac
}
complete -F _vnode_nodes -o nosort -o bashdefault -o default vnode
"#;

const FISH: &str = r#"
complete -c vnode -n "__fish_seen_subcommand_from exec shell sh console logs boot start halt stop reboot restart pause resume save restore screenshot destroy state wait mount unmount inspect" -f -a "(vnode __complete 2>/dev/null)"
"#;

#[derive(Debug, clap::Args)]
pub(crate) struct Names {}

/// Names of all nodes, bare where unique. Starts no daemon: a key press must not.
pub(crate) async fn names(_args: Names, context: &Context) -> Result {
    let Some(mut client) = Client::connect_running(&context.target()?).await? else {
        return Ok(0);
    };
    let nodes: Vec<NodeView> = client.get("/v1/nodes").await?;
    for node in &nodes {
        let unique = nodes.iter().filter(|other| other.node == node.node).count() == 1;
        if unique {
            context.output.line(&node.node)?;
        } else {
            context.output.line(&format!("{}/{}", node.lab, node.node))?;
        }
    }
    Ok(0)
}
