# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_vnode_global_optspecs
    string join \n state-dir= json q/quiet host= token= ca= h/help V/version
end

function __fish_vnode_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_vnode_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_vnode_using_subcommand
    set -l cmd (__fish_vnode_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c vnode -n "__fish_vnode_needs_command" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_needs_command" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_needs_command" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_needs_command" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_needs_command" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_needs_command" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_needs_command" -s V -l version -d 'Print version'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "up" -d 'Bring a lab up'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "down" -d 'Take a lab down'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "apply" -d 'Make a running lab what its file says, changing only what differs'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "check" -d 'Read a topology file and report what is wrong with it'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "ps" -d 'List nodes'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "ls" -d 'List nodes'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "inspect" -d 'Show everything known of a node or a lab'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "exec" -d 'Run a program in a node'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "shell" -d 'Open a shell in a node'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "sh" -d 'Open a shell in a node'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "console" -d 'Attach to a node\'s console; Ctrl-] leaves it'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "logs" -d 'Show what a node\'s first process printed'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "cp" -d 'Copy files into or out of a node'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "agent" -d 'Ask the agent in a node'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "component" -d 'Manage the components in a node: `vnode-agent component`, run inside it'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "vnf" -d 'Write packages of network functions, and manage those in a node'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "create" -d 'Make a node that stands alone'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "boot" -d 'Boot a node'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "start" -d 'Boot a node'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "halt" -d 'Halt a node; its disk, links and addresses stay'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "stop" -d 'Halt a node; its disk, links and addresses stay'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "reboot" -d 'Reboot a node; its links and addresses stay'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "restart" -d 'Reboot a node; its links and addresses stay'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "pause" -d 'Stop a node\'s processes where they are'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "resume" -d 'Let a paused node go on'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "save" -d 'Keep a virtual machine\'s memory with its disk and end it; the next boot goes on from there'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "restore" -d 'Let a virtual machine go on from the memory that was saved'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "screenshot" -d 'Take a picture of a virtual machine\'s screen'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "destroy" -d 'Destroy a node and its disk'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "state" -d 'Print a node\'s state in one word'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "wait" -d 'Wait until a node has come so far, or has failed'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "mount" -d 'Mount a stopped node\'s root on this host and print the folder, or run a program on it'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "unmount" -d 'Unmount what `mount` mounted'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "link" -d 'Show links and change what they do to frames'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "snapshot" -d 'Keep copies of a stopped node\'s disk, and go back to them'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "timeline" -d 'Show, pause, resume or stop a lab\'s timeline'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "capture" -d 'Capture an interface\'s frames as pcap on standard output'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "graph" -d 'Draw a topology'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "export" -d 'Write a topology back, resolved, or as containerlab takes it'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "import" -d 'Make a topology file of a file of Emulab, netlab, Kathará or CORE, or of a domain of libvirt, and print it'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "events" -d 'Show what happened'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "op" -d 'Show and cancel operations'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "operation" -d 'Show and cancel operations'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "image" -d 'Manage images'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "doctor" -d 'Say what this machine can do, what not, and how to mend it'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "clean" -d 'Remove what a crash or a foreign hand left behind'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "daemon" -d 'Run, stop or look at the daemon'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "token" -d 'Manage tokens for access over TCP'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "completion" -d 'Print a completion script for a shell'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "man" -d 'Write the man pages into a folder'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "version" -d 'Print the versions of this program and of the daemon'
complete -c vnode -n "__fish_vnode_needs_command" -f -a "__complete" -d 'Print names for completion scripts'
complete -c vnode -n "__fish_vnode_using_subcommand up" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand up" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand up" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand up" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand up" -l no-boot -d 'Create and wire the nodes, but do not boot them'
complete -c vnode -n "__fish_vnode_using_subcommand up" -s d -l detach -d 'Do not wait for the end: print the operation\'s id'
complete -c vnode -n "__fish_vnode_using_subcommand up" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand up" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand down" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand down" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand down" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand down" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand down" -s g -l graceful -d 'Ask the nodes to end and wait, instead of killing them'
complete -c vnode -n "__fish_vnode_using_subcommand down" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand down" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand down" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand apply" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand apply" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand apply" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand apply" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand apply" -l dry-run -d 'Only print what would be done'
complete -c vnode -n "__fish_vnode_using_subcommand apply" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand apply" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand check" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand check" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand check" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand check" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand check" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand check" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand ps" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand ps" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand ps" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand ps" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand ps" -s w -l wide -d 'Also labels and how the last run ended'
complete -c vnode -n "__fish_vnode_using_subcommand ps" -s n -l names -d 'Only names, one LAB/NODE a line'
complete -c vnode -n "__fish_vnode_using_subcommand ps" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand ps" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand ps" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand ls" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand ls" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand ls" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand ls" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand ls" -s w -l wide -d 'Also labels and how the last run ended'
complete -c vnode -n "__fish_vnode_using_subcommand ls" -s n -l names -d 'Only names, one LAB/NODE a line'
complete -c vnode -n "__fish_vnode_using_subcommand ls" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand ls" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand inspect" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand inspect" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand inspect" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand inspect" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand inspect" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand inspect" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand exec" -s e -l env -d 'Variable of the program; may be repeated' -r
complete -c vnode -n "__fish_vnode_using_subcommand exec" -s w -l workdir -d 'Folder it starts in' -r
complete -c vnode -n "__fish_vnode_using_subcommand exec" -s u -l user -d 'User it runs as, USER[:GROUP]' -r
complete -c vnode -n "__fish_vnode_using_subcommand exec" -l attach -d 'Attach to a detached program, with its output so far; on a terminal Ctrl-] leaves it as it is' -r
complete -c vnode -n "__fish_vnode_using_subcommand exec" -l time -d 'Seconds it may run; then it is killed with all it started, and the exit code is 4' -r
complete -c vnode -n "__fish_vnode_using_subcommand exec" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand exec" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand exec" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand exec" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand exec" -s t -l tty -d 'Give it a terminal; the default where both our input and output are one'
complete -c vnode -n "__fish_vnode_using_subcommand exec" -s T -l no-tty -d 'Give it no terminal'
complete -c vnode -n "__fish_vnode_using_subcommand exec" -s n -l no-stdin -d 'Give it no input'
complete -c vnode -n "__fish_vnode_using_subcommand exec" -l privileged -d 'All capabilities, no filter of system calls'
complete -c vnode -n "__fish_vnode_using_subcommand exec" -l agent -d 'Have the node\'s agent start it, instead of doing so from outside'
complete -c vnode -n "__fish_vnode_using_subcommand exec" -l detach -d 'Leave it to the agent, which keeps its output and its exit code; prints the id to attach to it by'
complete -c vnode -n "__fish_vnode_using_subcommand exec" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand exec" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand shell" -s u -l user -d 'User it runs as, USER[:GROUP]' -r
complete -c vnode -n "__fish_vnode_using_subcommand shell" -s s -l shell -d 'Another shell' -r
complete -c vnode -n "__fish_vnode_using_subcommand shell" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand shell" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand shell" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand shell" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand shell" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand shell" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand shell" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand sh" -s u -l user -d 'User it runs as, USER[:GROUP]' -r
complete -c vnode -n "__fish_vnode_using_subcommand sh" -s s -l shell -d 'Another shell' -r
complete -c vnode -n "__fish_vnode_using_subcommand sh" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand sh" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand sh" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand sh" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand sh" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand sh" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand sh" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand console" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand console" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand console" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand console" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand console" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand console" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand console" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand logs" -l tail -d 'Only the last bytes' -r
complete -c vnode -n "__fish_vnode_using_subcommand logs" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand logs" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand logs" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand logs" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand logs" -s f -l follow -d 'Go on with what it prints from now on'
complete -c vnode -n "__fish_vnode_using_subcommand logs" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand logs" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand cp" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand cp" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand cp" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand cp" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand cp" -l agent -d 'Have the node\'s agent read or write, instead of doing so from outside'
complete -c vnode -n "__fish_vnode_using_subcommand cp" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand cp" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand cp" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "ping" -d 'Find out whether the agent answers, which one it is, and how fast'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "info" -d 'Show what the agent is and what it can do'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "network" -d 'Show the interfaces and addresses that the node has'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "metrics" -d 'Show load, memory and file systems of the node'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "time" -d 'Show the node\'s clock, or set it'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "shutdown" -d 'Have the node\'s own system end it'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "exec-list" -d 'List the programs that `exec --agent --detach` left to the agent'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "exec-show" -d 'Show such a program: whether it runs, how it ended, how much it printed'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "exec-signal" -d 'Signal such a program, and what it started in its group'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "exec-end" -d 'End such a program with all it started: hang-up, TERM, KILL; its output and exit code stay'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and not __fish_seen_subcommand_from ping info network metrics time shutdown exec-list exec-show exec-signal exec-end exec-remove" -f -a "exec-remove" -d 'End such a program, and have the agent forget it'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from ping" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from ping" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from ping" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from ping" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from ping" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from ping" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from ping" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from info" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from info" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from info" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from info" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from info" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from info" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from info" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from network" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from network" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from network" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from network" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from network" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from network" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from network" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from metrics" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from metrics" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from metrics" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from metrics" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from metrics" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from metrics" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from metrics" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from time" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from time" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from time" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from time" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from time" -l set -d 'Set it to this host\'s time first; a container has the host\'s own clock and is refused'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from time" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from time" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from time" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from shutdown" -l mode -d 'How it ends' -r -f -a "poweroff\t''
reboot\t''
halt\t''"
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from shutdown" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from shutdown" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from shutdown" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from shutdown" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from shutdown" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from shutdown" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from shutdown" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-list" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-list" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-list" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-list" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-list" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-list" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-show" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-show" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-show" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-show" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-show" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-show" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-signal" -s s -l signal -d 'Its name or number' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-signal" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-signal" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-signal" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-signal" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-signal" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-signal" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-signal" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-end" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-end" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-end" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-end" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-end" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-end" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-end" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-remove" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-remove" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-remove" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-remove" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-remove" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-remove" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand agent; and __fish_seen_subcommand_from exec-remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand component" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand component" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand component" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand component" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand component" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand component" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand component" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "new" -d 'Begin a package: a lifecycle.json and three scripts in a new folder'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "lint" -d 'Check an archive or a folder as the service would'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "pack" -d 'Pack a folder into an archive, and check it'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "sign" -d 'Write MANIFEST and MANIFEST.sig into a folder, to be packed afterwards; or wrap an archive with its signature'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "serve" -d 'Serve requests in a node, and follow every function there'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "schema" -d 'Print the JSON Schema of lifecycle.json'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "info" -d 'What the service in a node is, and how it watches'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "push" -d 'Bring a package of this host to a node: an archive, or - for standard input'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "ls" -d 'Packages and instances'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "show" -d 'One instance, or one package'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "instantiate" -d 'Make an instance of a package and instantiate it'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "start" -d 'Start the process: start_command, or START scripts in mode managed'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "stop" -d 'Stop it: STOP scripts, or TERM and then KILL'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "terminate" -d 'Make an end of an instance; its package stays'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "update" -d 'Change to another revision of the package'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "heal" -d 'HEAL scripts; without any: stop and start'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "scale" -d 'Scale an aspect up, or with --in down'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "configure" -d 'Give parameters new values, and run the CONFIGURE scripts'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "test" -d 'Run the TEST scripts'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "retry" -d 'Go on with an operation that failed, at the script that failed'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "rollback" -d 'Undo an operation that failed'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "fail" -d 'Take an operation that failed as it is'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "cancel" -d 'End an operation that runs'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "operations" -d 'The newest operations'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "operation" -d 'One operation'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "status" -d 'The state of an instance, its process and its health'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "process" -d 'Whether a process runs: any, by its name'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "logs" -d 'What scripts printed in the newest operation, or in one'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "events" -d 'What happened to the functions of a node'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and not __fish_seen_subcommand_from new lint pack sign serve schema info push ls show instantiate start stop terminate update heal scale configure test retry rollback fail cancel operations operation status process logs events rm" -f -a "rm" -d 'Remove an instance that is terminated, or with --package a package'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from new" -l name -d 'The package\'s name; default: the folder\'s, reduced to letters and digits' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from new" -l process -d 'The process to watch' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from new" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from new" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from new" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from new" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from new" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from new" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from new" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from lint" -l keys -d 'And that it is signed with a key of this folder' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from lint" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from lint" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from lint" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from lint" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from lint" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from lint" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from lint" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from pack" -s o -l output -d '.tar, .tar.gz, .tar.zst, .zip or .csar; default: FOLDER.tar.gz' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from pack" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from pack" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from pack" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from pack" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from pack" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from pack" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from pack" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -l key -d 'The secret key; with --certificate its key, PKCS #8 as PEM' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -l certificate -d 'The signer\'s certificate, PEM: the archive is wrapped with a CMS signature, as ETSI\'s second option wants it' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -s o -l output -d 'The outer archive; default: NAME.signed.zip' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -l new-key -d 'Make the key first; the public one is written beside it, with the ending .pub'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from sign" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from serve" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from serve" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from serve" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from serve" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from serve" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from serve" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from schema" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from schema" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from schema" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from schema" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from schema" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from schema" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from info" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from info" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from info" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from info" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from info" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from info" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from info" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from push" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from push" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from push" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from push" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from push" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from push" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from push" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from ls" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from ls" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from ls" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from ls" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from show" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from show" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from show" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from show" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from show" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from instantiate" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from instantiate" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from instantiate" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from instantiate" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from instantiate" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from instantiate" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from instantiate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from start" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from start" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from start" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from start" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from start" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from start" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from stop" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from stop" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from stop" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from stop" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from stop" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from terminate" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from terminate" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from terminate" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from terminate" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from terminate" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from terminate" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from terminate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from update" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from update" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from update" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from update" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from update" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from update" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from heal" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from heal" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from heal" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from heal" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from heal" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from heal" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from heal" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from scale" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from scale" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from scale" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from scale" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from scale" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from scale" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from scale" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from configure" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from configure" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from configure" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from configure" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from configure" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from configure" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from configure" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from test" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from test" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from test" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from test" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from test" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from test" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from retry" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from retry" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from retry" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from retry" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from retry" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from retry" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from retry" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rollback" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rollback" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rollback" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rollback" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rollback" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rollback" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from fail" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from fail" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from fail" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from fail" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from fail" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from fail" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from fail" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from cancel" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from cancel" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from cancel" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from cancel" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from cancel" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from cancel" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operations" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operations" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operations" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operations" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operations" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operations" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operations" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operation" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operation" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operation" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operation" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operation" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operation" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from operation" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from status" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from status" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from status" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from status" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from status" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from process" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from process" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from process" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from process" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from process" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from process" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from process" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from logs" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from logs" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from logs" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from logs" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from logs" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from logs" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from events" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from events" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from events" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from events" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from events" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from events" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rm" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rm" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rm" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rm" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand vnf; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand create" -s i -l image -d 'Image it is made from' -r
complete -c vnode -n "__fish_vnode_using_subcommand create" -s e -l env -d 'Variable of its first process' -r
complete -c vnode -n "__fish_vnode_using_subcommand create" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand create" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand create" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand create" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand create" -l privileged -d 'All capabilities and devices, no filter of system calls'
complete -c vnode -n "__fish_vnode_using_subcommand create" -s b -l boot -d 'Boot it as well'
complete -c vnode -n "__fish_vnode_using_subcommand create" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand create" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand boot" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand boot" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand boot" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand boot" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand boot" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand boot" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand boot" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand start" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand start" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand start" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand start" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand start" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand start" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand halt" -s t -l time -d 'Seconds between asking and killing; the node\'s own when absent' -r
complete -c vnode -n "__fish_vnode_using_subcommand halt" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand halt" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand halt" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand halt" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand halt" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand halt" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand halt" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand stop" -s t -l time -d 'Seconds between asking and killing; the node\'s own when absent' -r
complete -c vnode -n "__fish_vnode_using_subcommand stop" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand stop" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand stop" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand stop" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand stop" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand stop" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand reboot" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand reboot" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand reboot" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand reboot" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand reboot" -l hard -d 'Kill instead of asking'
complete -c vnode -n "__fish_vnode_using_subcommand reboot" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand reboot" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand reboot" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand restart" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand restart" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand restart" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand restart" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand restart" -l hard -d 'Kill instead of asking'
complete -c vnode -n "__fish_vnode_using_subcommand restart" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand restart" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand restart" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand pause" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand pause" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand pause" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand pause" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand pause" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand pause" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand resume" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand resume" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand resume" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand resume" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand resume" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand resume" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand save" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand save" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand save" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand save" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand save" -l discard -d 'Throw away what was saved: the next boot is one from the disk'
complete -c vnode -n "__fish_vnode_using_subcommand save" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand save" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand save" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand restore" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand restore" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand restore" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand restore" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand restore" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand restore" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand screenshot" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand screenshot" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand screenshot" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand screenshot" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand screenshot" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand screenshot" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand screenshot" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand destroy" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand destroy" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand destroy" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand destroy" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand destroy" -s f -l force -d 'Also a node whose record cannot be read'
complete -c vnode -n "__fish_vnode_using_subcommand destroy" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand destroy" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand destroy" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand state" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand state" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand state" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand state" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand state" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand state" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand state" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand wait" -l for -d 'Level to wait for: its record is there, its disk and namespace, its first process runs, it answers (its health check, or a machine\'s agent or address), its startup commands have run' -r -f -a "accepted\t''
created\t''
started\t''
reachable\t''
ready\t''"
complete -c vnode -n "__fish_vnode_using_subcommand wait" -s t -l time -d 'Seconds until the wait is over and ends with 4; without it there is no deadline' -r
complete -c vnode -n "__fish_vnode_using_subcommand wait" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand wait" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand wait" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand wait" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand wait" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand wait" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand wait" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand mount" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand mount" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand mount" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand mount" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand mount" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand mount" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand mount" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand unmount" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand unmount" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand unmount" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand unmount" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand unmount" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand unmount" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand unmount" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -f -a "ls" -d 'List links with what each end does to the frames it sends'
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -f -a "set" -d 'Change impairments: `vnode link set r1:eth1 delay=10ms loss=0.1%`'
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -f -a "down" -d 'Let nothing through until `up`'
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -f -a "up" -d 'Let frames through again'
complete -c vnode -n "__fish_vnode_using_subcommand link; and not __fish_seen_subcommand_from ls set down up reset" -f -a "reset" -d 'Go back to what the topology file declares'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from ls" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from ls" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from ls" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from ls" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from set" -l from -d 'Only what this end sends, NODE or NODE:INTERFACE; both directions when absent' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from set" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from set" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from set" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from set" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from set" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from down" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from down" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from down" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from down" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from down" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from down" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from down" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from up" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from up" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from up" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from up" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from up" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from up" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from reset" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from reset" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from reset" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from reset" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from reset" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from reset" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand link; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -f -a "take" -d 'Keep a copy of a stopped node\'s disk under a name'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -f -a "ls" -d 'List a node\'s snapshots, oldest first'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -f -a "restore" -d 'Make a stopped node\'s disk what it was when the snapshot was taken'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and not __fish_seen_subcommand_from take ls restore rm" -f -a "rm" -d 'Remove a snapshot'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from take" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from take" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from take" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from take" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from take" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from take" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from take" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from ls" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from ls" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from ls" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from ls" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from restore" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from restore" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from restore" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from restore" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from restore" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from restore" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from rm" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from rm" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from rm" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from rm" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand snapshot; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -f -a "show" -d 'Show a lab\'s `events`, which of them have happened, and the clock'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -f -a "pause" -d 'Stop the clock; what is due later waits for `resume`'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -f -a "resume" -d 'Let the clock go on where it stood'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -f -a "stop" -d 'End the timeline; what has not happened does not happen'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and not __fish_seen_subcommand_from show pause resume stop start" -f -a "start" -d 'Begin from the beginning; links stay as they are'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from show" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from show" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from show" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from show" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from show" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from pause" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from pause" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from pause" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from pause" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from pause" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from pause" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from resume" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from resume" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from resume" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from resume" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from resume" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from resume" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from stop" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from stop" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from stop" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from stop" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from stop" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from start" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from start" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from start" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from start" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from start" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from start" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand timeline; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand capture" -s s -l snap-length -d 'Bytes kept of each frame' -r
complete -c vnode -n "__fish_vnode_using_subcommand capture" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand capture" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand capture" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand capture" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand capture" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand capture" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand capture" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand graph" -s f -l format -d 'Form of the drawing' -r -f -a "svg\t'A picture for browsers'
mermaid\t'Text that Markdown viewers draw'
dot\t'Text for Graphviz'"
complete -c vnode -n "__fish_vnode_using_subcommand graph" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand graph" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand graph" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand graph" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand graph" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand graph" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand graph" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand export" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand export" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand export" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand export" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand export" -l clab -d 'Only what containerlab accepts; a comment at the head says what was left out'
complete -c vnode -n "__fish_vnode_using_subcommand export" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand export" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand import" -s n -l name -d 'The lab\'s name; the one the file gives, or the file\'s own without its ending (the folder\'s of a lab.conf) when absent' -r
complete -c vnode -n "__fish_vnode_using_subcommand import" -s f -l from -d 'Whose file it is; told by its name, or by how it begins, when absent' -r
complete -c vnode -n "__fish_vnode_using_subcommand import" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand import" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand import" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand import" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand import" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand import" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand events" -l after -d 'Only events with a number above this' -r
complete -c vnode -n "__fish_vnode_using_subcommand events" -l lab -d 'Only those of this lab' -r
complete -c vnode -n "__fish_vnode_using_subcommand events" -l kind -d 'Only those whose kind begins so, e.g. `node.`' -r
complete -c vnode -n "__fish_vnode_using_subcommand events" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand events" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand events" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand events" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand events" -s f -l follow -d 'Go on with what happens from now on'
complete -c vnode -n "__fish_vnode_using_subcommand events" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand events" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -f -a "ls" -d 'List operations that run and that ended lately'
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -f -a "show" -d 'Show one operation with its steps'
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -f -a "follow" -d 'Wait for the end of an operation'
complete -c vnode -n "__fish_vnode_using_subcommand op; and not __fish_seen_subcommand_from ls show follow cancel" -f -a "cancel" -d 'Stop an operation; it undoes what it did'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from ls" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from ls" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from ls" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from ls" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from show" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from show" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from show" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from show" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from show" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from follow" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from follow" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from follow" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from follow" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from follow" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from follow" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from follow" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from cancel" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from cancel" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from cancel" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from cancel" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from cancel" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from cancel" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand op; and __fish_seen_subcommand_from cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -f -a "ls" -d 'List operations that run and that ended lately'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -f -a "show" -d 'Show one operation with its steps'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -f -a "follow" -d 'Wait for the end of an operation'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and not __fish_seen_subcommand_from ls show follow cancel" -f -a "cancel" -d 'Stop an operation; it undoes what it did'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from ls" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from ls" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from ls" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from ls" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from show" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from show" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from show" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from show" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from show" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from follow" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from follow" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from follow" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from follow" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from follow" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from follow" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from follow" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from cancel" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from cancel" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from cancel" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from cancel" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from cancel" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from cancel" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand operation; and __fish_seen_subcommand_from cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "ls" -d 'List images, with the nodes that use each'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "pull" -d 'Bring an image in from a registry'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "import" -d 'Bring an archive of this host in: a tarball, an OCI layout, a `docker save` archive'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "rm" -d 'Remove an image that no node uses'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "gc" -d 'Remove images that no node uses'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "build" -d 'Build a small virtual machine from Debian\'s packages: kernel, busybox, our agent'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "subscribe" -d 'Follow a signed image list, or a tag or catalogue of a registry'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "unsubscribe" -d 'Stop following a list; its images are withdrawn'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "lists" -d 'List the signed lists that are followed'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "configure" -d 'Change what was chosen for a list'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "pause" -d 'Leave a list alone: not refreshed, its images stay'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "resume" -d 'Refresh a list again'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "endorser" -d 'Who may sign lists'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "refresh" -d 'Ask whether lists changed, withdraw what ended, fetch what is wanted'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "listed" -d 'List the images that signed lists offer, and which are here'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "want" -d 'Keep images of lists in the cache, and fetch them'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "expire" -d 'Keep images of lists no longer, and withdraw them'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "accept" -d 'List an image that the policy for new images refused'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "show" -d 'Show one list, or one image of a list'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "events" -d 'Events that a handler or a cloud was not told of yet'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "settings" -d 'Show or change what is chosen for all lists'
complete -c vnode -n "__fish_vnode_using_subcommand image; and not __fish_seen_subcommand_from ls pull import rm gc build subscribe unsubscribe lists configure pause resume endorser refresh listed want expire accept show events settings migrate" -f -a "migrate" -d 'Take over a vmcatcher installation'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from ls" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from ls" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from ls" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from ls" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pull" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pull" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pull" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pull" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pull" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pull" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pull" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from import" -s n -l name -d 'Name it is known by from now on; the file\'s own when absent' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from import" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from import" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from import" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from import" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from import" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from import" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from rm" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from rm" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from rm" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from rm" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from gc" -l unused -d 'Only those unused for so many days' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from gc" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from gc" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from gc" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from gc" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from gc" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from gc" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from gc" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from build" -l agent -d 'The agent to put in; `vnode-agent` beside this program when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from build" -l packages -d 'Folder in which Debian\'s kernel, and busybox-static, were unpacked: for hosts that can fetch nothing' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from build" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from build" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from build" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from build" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from build" -l no-agent -d 'Put no agent in'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from build" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from build" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from build" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l want -d 'Keep this image of it in the cache; may be repeated' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l new-images -d 'What is done with images the list did not have before' -r -f -a "refuse\t'Tell of them'
accept\t'List them'
subscribe\t'List and fetch them'"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l credential -d 'File whose first line is `user:password` for the list\'s server; empty for none' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l key -d 'Public key (PEM) that artefacts of a registry must be signed with, as cosign signs; empty for none' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l enforce-expiry -d 'Withdraw expired lists and images' -r -f -a "true\t''
false\t''"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l follow-list-uri -d 'Fetch from where the list says it is, on the same host' -r -f -a "true\t''
false\t''"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l allow-sha1 -d 'Accept signatures over SHA-1' -r -f -a "true\t''
false\t''"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l allow-any-eku -d 'Accept signers whose certificate is for servers or clients' -r -f -a "true\t''
false\t''"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l strict-version -d 'Refuse another message of the same version' -r -f -a "true\t''
false\t''"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l auto-endorse -d 'Trust whoever signed it from now on'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l all -d 'Keep all its images in the cache, new ones too'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from subscribe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from unsubscribe" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from unsubscribe" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from unsubscribe" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from unsubscribe" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from unsubscribe" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from unsubscribe" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from unsubscribe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from lists" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from lists" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from lists" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from lists" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from lists" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from lists" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from lists" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l new-images -d 'What is done with images the list did not have before' -r -f -a "refuse\t'Tell of them'
accept\t'List them'
subscribe\t'List and fetch them'"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l credential -d 'File whose first line is `user:password` for the list\'s server; empty for none' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l key -d 'Public key (PEM) that artefacts of a registry must be signed with, as cosign signs; empty for none' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l enforce-expiry -d 'Withdraw expired lists and images' -r -f -a "true\t''
false\t''"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l follow-list-uri -d 'Fetch from where the list says it is, on the same host' -r -f -a "true\t''
false\t''"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l allow-sha1 -d 'Accept signatures over SHA-1' -r -f -a "true\t''
false\t''"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l allow-any-eku -d 'Accept signers whose certificate is for servers or clients' -r -f -a "true\t''
false\t''"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l strict-version -d 'Refuse another message of the same version' -r -f -a "true\t''
false\t''"
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from configure" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pause" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pause" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pause" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pause" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pause" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pause" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from resume" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from resume" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from resume" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from resume" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from resume" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from resume" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -f -a "ls" -d 'List endorsers'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -f -a "add" -d 'Make an endorser'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -f -a "rm" -d 'Remove an endorser and its links'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -f -a "link" -d 'Let an endorser sign a list'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from endorser" -f -a "unlink" -d 'No longer let an endorser sign a list'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from refresh" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from refresh" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from refresh" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from refresh" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from refresh" -l check -d 'Read every cached file again and compare its hash'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from refresh" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from refresh" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from refresh" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from listed" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from listed" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from listed" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from listed" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from listed" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from listed" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from listed" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from want" -l list -d 'Only of this list' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from want" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from want" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from want" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from want" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from want" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from want" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from want" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from expire" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from expire" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from expire" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from expire" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from expire" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from expire" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from expire" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from accept" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from accept" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from accept" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from accept" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from accept" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from accept" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from accept" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from show" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from show" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from show" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from show" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from show" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from events" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from events" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from events" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from events" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from events" -l retry -d 'Offer those again that were given up'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from events" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from events" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l trust -d 'CA certificates, CRLs and namespaces, in IGTF\'s layout' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l cache -d 'The cache folder' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l handler -d 'Command that is told of the cache\'s events; empty for none' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l subscription-handler -d 'Command that is told of images new in a list; empty for none' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l refresh-every -d 'Hours between two refreshes by the daemon; 0: only when asked' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l proxy -d 'Proxy for http and https; empty for none' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l authorities -d 'Certificates (PEM) of servers\' authorities beside the system\'s; empty for none' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l mirror -d 'Ask TO first for addresses that begin with FROM; replaces the mirrors; `none` for none' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l bandwidth -d 'Bytes a second for all downloads together; 0: no limit' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l parallel -d 'Downloads at a time' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l max-virtual-size -d 'Most bytes a packed image may unpack to' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l keep-expired -d 'Days that withdrawn files are kept; negative: for ever' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l serve-tree -d 'Keep a tree of lists and files here, for a web server that serves them to other sites; empty for none' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from settings" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from migrate" -l database -d 'Its SQLite database, a path or `sqlite:///PATH`' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from migrate" -l cache -d 'Its cache folder; files that can be believed are moved' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from migrate" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from migrate" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from migrate" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from migrate" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from migrate" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from migrate" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand image; and __fish_seen_subcommand_from migrate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand doctor" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand doctor" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand doctor" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand doctor" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand doctor" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand doctor" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand clean" -l lab -d 'Give up this lab\'s records that cannot be read, and all that they may speak of: disks too' -r
complete -c vnode -n "__fish_vnode_using_subcommand clean" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand clean" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand clean" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand clean" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand clean" -l dry-run -d 'Only print what would be removed'
complete -c vnode -n "__fish_vnode_using_subcommand clean" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand clean" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand clean" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l listen -d 'Also listen here, with TLS and tokens, e.g. 0.0.0.0:7480' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l tls-cert -d 'Certificate chain for `--listen`, PEM; one is made when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l tls-key -d 'Private key of `--tls-cert`, PEM' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l workers -d 'Steps of operations done at once; 0 chooses by the number of processors' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l monitor -d 'The program `vnode-monitor`; found beside this one when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l agent -d 'The program `vnode-agent` that containers are given; found beside this one when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l default-registry -d 'Registry of images that name none' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l registry-mirror -d 'Ask this mirror before the registry itself; may be repeated' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l insecure-registry -d 'Speak plain HTTP to this registry; may be repeated' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l auth-file -d 'Credentials of registries, as `docker login` writes them' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l proxy -d 'Proxy for registries, http://HOST:PORT' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l opennebula -d 'Let this OpenNebula cloud follow the images of signed lists: its settings, TOML' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l log-level -d 'What to log, e.g. `debug` or `info,vnode_network=debug`' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l ready-fd -d 'Descriptor to write `ready` to' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l no-user-namespaces -d 'Root in a node is root of the host too, without its capabilities; by default it is nobody there, where the kernel can do that'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l host-commands -d 'Let topology files run commands on this host (`stages` with `target: host`)'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l repair -d 'Go on with what is whole of a damaged store: its file is kept beside it, and what is lost is logged'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -f -a "stop" -d 'Stop the daemon; nodes go on'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and not __fish_seen_subcommand_from stop status" -f -a "status" -d 'Say whether a daemon runs; starts none'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from status" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from status" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from status" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from status" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from status" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand daemon; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand token; and not __fish_seen_subcommand_from create ls rm" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand token; and not __fish_seen_subcommand_from create ls rm" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand token; and not __fish_seen_subcommand_from create ls rm" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand token; and not __fish_seen_subcommand_from create ls rm" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand token; and not __fish_seen_subcommand_from create ls rm" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand token; and not __fish_seen_subcommand_from create ls rm" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand token; and not __fish_seen_subcommand_from create ls rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand token; and not __fish_seen_subcommand_from create ls rm" -f -a "create" -d 'Make a token and print its secret, once'
complete -c vnode -n "__fish_vnode_using_subcommand token; and not __fish_seen_subcommand_from create ls rm" -f -a "ls" -d 'List tokens, without their secrets'
complete -c vnode -n "__fish_vnode_using_subcommand token; and not __fish_seen_subcommand_from create ls rm" -f -a "rm" -d 'Forget a token'
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from create" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from create" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from create" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from create" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from create" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from create" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from ls" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from ls" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from ls" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from ls" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from rm" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from rm" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from rm" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from rm" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand token; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand completion" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand completion" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand completion" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand completion" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand completion" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand completion" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand completion" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand man" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand man" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand man" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand man" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand man" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand man" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand version" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand version" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand version" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand version" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand version" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand version" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand version" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vnode -n "__fish_vnode_using_subcommand __complete" -l state-dir -d 'Folder of all state' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand __complete" -l host -d 'Talk to the daemon of another host, over TLS' -r
complete -c vnode -n "__fish_vnode_using_subcommand __complete" -l token -d 'Token for `--host`; `vnode token create` makes one' -r
complete -c vnode -n "__fish_vnode_using_subcommand __complete" -l ca -d 'Certificates to check that host\'s with; the system\'s own when absent' -r -F
complete -c vnode -n "__fish_vnode_using_subcommand __complete" -l json -d 'Print JSON: one document, or one line each for what streams'
complete -c vnode -n "__fish_vnode_using_subcommand __complete" -s q -l quiet -d 'Print nothing but results and errors'
complete -c vnode -n "__fish_vnode_using_subcommand __complete" -s h -l help -d 'Print help (see more with \'--help\')'

complete -c vnode -n "__fish_seen_subcommand_from exec shell sh console logs boot start halt stop reboot restart pause resume save restore screenshot destroy state wait mount unmount inspect" -f -a "(vnode __complete 2>/dev/null)"
