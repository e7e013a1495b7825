# fish completion for sidekey(1)

set -l commands serve run env doctor k8s init presets login logout check why ca status refresh reset reload healthcheck version help
set -l configured serve run env doctor k8s login logout check why ca status refresh reset reload healthcheck

# The names of credentials in the configuration that the line names.
function __sidekey_credentials
    set -l line (commandline -opc)
    set -l config
    for i in (seq 2 (count $line))
        switch $line[$i]
            case -c --config
                set config -c $line[(math $i + 1)]
            case '--config=*'
                set config -c (string replace -- '--config=' '' $line[$i])
        end
    end
    sidekey check --names $config 2>/dev/null
end

complete -c sidekey -f
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a serve -d 'run the proxy'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a run -d 'run a program with a private proxy'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a env -d 'print the environment variables that a program needs to use the proxy'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a doctor -d 'find out which programs here do not reach sidekey, or do not trust it'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a k8s -d 'print Kubernetes manifests for the configuration'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a init -d 'write a first sidekey.yaml for a provider'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a presets -d 'list the providers that sidekey knows, or show one'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a login -d 'sign in to a provider, with a browser or a device code'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a logout -d 'revoke what sidekey login stored, and forget it'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a check -d 'check the configuration'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a why -d 'print which rule applies to a request'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a ca -d 'show the CA certificates that programs must trust, or make the next one'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a status -d 'show the credentials of a running proxy'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a refresh -d 'refresh a credential of a running proxy now'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a reset -d "forget that a credential's refresh tokens were refused, and try again"
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a reload -d 'make a running proxy read its configuration again'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a healthcheck -d 'ask a running proxy whether it is ready'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a version -d 'print the version'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands" -a help -d 'print this help, or the help of a command'
complete -c sidekey -n "not __fish_seen_subcommand_from $commands; or __fish_seen_subcommand_from $configured" -s c -l config -r -F -d 'configuration'
complete -c sidekey -n "__fish_seen_subcommand_from $configured" -l set -x -d 'a single value: section.key=value'
complete -c sidekey -n "__fish_seen_subcommand_from $configured" -l allow-inline-secrets -d 'accept literal secrets in the file'
complete -c sidekey -n '__fish_seen_subcommand_from env' -s f -l format -x -a 'sh docker k8s json' -d 'format'
complete -c sidekey -n '__fish_seen_subcommand_from env' -l java -d 'add JAVA_TOOL_OPTIONS'
complete -c sidekey -n '__fish_seen_subcommand_from env' -l proxy -x -d 'as the program sees it: host:port'
complete -c sidekey -n '__fish_seen_subcommand_from env' -l ca-dir -x -a '(__fish_complete_directories)' -d 'as the program sees it'
complete -c sidekey -n '__fish_seen_subcommand_from env' -l key-files -x -a '(__fish_complete_directories)' -d 'write key files without a secret there'
complete -c sidekey -n '__fish_seen_subcommand_from env' -l placeholder -x -d 'a variable with a placeholder: name=@credential'
complete -c sidekey -n '__fish_seen_subcommand_from why' -a 'GET POST PUT PATCH DELETE HEAD OPTIONS'
complete -c sidekey -n '__fish_seen_subcommand_from why' -s H -l header -x -d 'a field of the request'
complete -c sidekey -n '__fish_seen_subcommand_from ca' -a 'show rotate'
complete -c sidekey -n '__fish_seen_subcommand_from ca' -l now -d 'make the next CA sign at once'
complete -c sidekey -n '__fish_seen_subcommand_from login' -l device -d 'show a code to enter on any device'
complete -c sidekey -n '__fish_seen_subcommand_from login' -l no-browser -d 'print the address instead of starting a browser'
complete -c sidekey -n '__fish_seen_subcommand_from login' -l timeout -x -d 'how long to wait for the browser'
complete -c sidekey -n '__fish_seen_subcommand_from refresh reset login logout' -a '(__sidekey_credentials)'
complete -c sidekey -n '__fish_seen_subcommand_from k8s' -a 'deployment networkpolicy pdb job sidecar volumes redis podmonitor rules prometheusrule dashboard component policy helm'
complete -c sidekey -n '__fish_seen_subcommand_from k8s' -l name -x -d 'name of the app'
complete -c sidekey -n '__fish_seen_subcommand_from k8s' -l container -x -d 'the container of the app'
complete -c sidekey -n '__fish_seen_subcommand_from k8s' -l image -x -d 'image of the app'
complete -c sidekey -n '__fish_seen_subcommand_from k8s' -l sidekey-image -x -d 'image of sidekey'
complete -c sidekey -n '__fish_seen_subcommand_from k8s' -l replicas -x -d 'number of replicas'
complete -c sidekey -n '__fish_seen_subcommand_from init' -a '(sidekey presets 2>/dev/null | string match -r "^\S+")' -d 'preset'
complete -c sidekey -n '__fish_seen_subcommand_from init' -l name -x -d 'of the credential'
complete -c sidekey -n '__fish_seen_subcommand_from init' -s o -l output -r -F -d 'the file to write'
complete -c sidekey -n '__fish_seen_subcommand_from version' -s v -l verbose -d 'also print the versions of the libraries'
complete -c sidekey -n '__fish_seen_subcommand_from help' -a "$commands"
complete -c sidekey -n '__fish_seen_subcommand_from run' -l layers -x -a 'auto env preload env,preload notify' -d 'how sidekey reaches the program'
complete -c sidekey -n '__fish_seen_subcommand_from run' -l placeholder -x -d 'a variable of the program: name=value'
complete -c sidekey -n '__fish_seen_subcommand_from run' -l isolate -d 'in a network that ends at sidekey'
complete -c sidekey -n '__fish_seen_subcommand_from run' -l guard -d 'the kernel refuses other TCP connections'
complete -c sidekey -n '__fish_seen_subcommand_from run' -l allow-local -x -d 'a port of the loopback of this machine'
complete -c sidekey -n '__fish_seen_subcommand_from run' -l strict -d 'do not start what may bypass sidekey'
complete -c sidekey -n '__fish_seen_subcommand_from run' -l check -d 'print what covers the program'
complete -c sidekey -n '__fish_seen_subcommand_from run' -l linger -d 'keep the proxy for children'
complete -c sidekey -n '__fish_seen_subcommand_from run' -l java -d 'options for Java'
complete -c sidekey -n '__fish_seen_subcommand_from run' -s v -l verbose -d 'print more'
complete -c sidekey -n '__fish_seen_subcommand_from run' -a '(__fish_complete_subcommand)'
complete -c sidekey -n '__fish_seen_subcommand_from status' -l json -d 'as /status answers'
complete -c sidekey -n '__fish_seen_subcommand_from status' -l watch -d 'again every two seconds'
complete -c sidekey -n '__fish_seen_subcommand_from status healthcheck' -l admin -x -d 'whom to ask: IP:PORT, or the path of a socket'
complete -c sidekey -n '__fish_seen_subcommand_from doctor' -l json -d 'as JSON'
complete -c sidekey -n '__fish_seen_subcommand_from doctor' -l timeout -x -d 'of each request, in seconds'
complete -c sidekey -n '__fish_seen_subcommand_from doctor' -a '(__fish_complete_subcommand)'
