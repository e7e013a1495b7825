# bash completion for sidekey(1)

# The names of credentials in the configuration that the line names.
_sidekey_credentials()
{
    local flags=() i file
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == -c || ${COMP_WORDS[i]} == --config ]]; then
            file=${COMP_WORDS[i+1]}
            [[ $file != = ]] || file=${COMP_WORDS[i+2]} # --config=FILE comes as three words
            flags=(-c "${file/#\~/$HOME}")
        fi
    done
    "${COMP_WORDS[0]}" check --names "${flags[@]}" 2>/dev/null
}

_sidekey()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command='' i
    local commands='serve run env doctor k8s init presets login logout check why ca status refresh reset reload healthcheck version help'
    local config='--config --set --allow-inline-secrets --help'
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -c | --config | --set) ((i++)) ;; # flags may stand before the command
        -* | =) ;;
        *)
            command=${COMP_WORDS[i]}
            break
            ;;
        esac
    done
    COMPREPLY=()
    if [[ -z $command && ! $before =~ ^(-c|--config|--set|=)$ ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$word")
        return
    fi
    if [[ $command == run || $command == doctor ]]; then # behind "--" stands another program's own line
        for ((i = 2; i < COMP_CWORD; i++)); do
            if [[ ${COMP_WORDS[i]} == -- ]]; then
                if ((i + 1 == COMP_CWORD)); then
                    mapfile -t COMPREPLY < <(compgen -c -- "$word")
                else
                    mapfile -t COMPREPLY < <(compgen -f -- "$word")
                fi
                return
            fi
        done
    fi
    case $before in
    -c | --config)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
        return
        ;;
    -o | --output)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
        return
        ;;
    -f | --format)
        mapfile -t COMPREPLY < <(compgen -W 'sh docker k8s json' -- "$word")
        return
        ;;
    --ca-dir | --key-files)
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        return
        ;;
    --layers)
        mapfile -t COMPREPLY < <(compgen -W 'auto env preload env,preload notify' -- "$word")
        return
        ;;
    --set | --proxy | --admin | --allow-local | --placeholder | --name | --container | --image | --sidekey-image | --replicas | --timeout) return ;;
    esac
    case $command in
    env) mapfile -t COMPREPLY < <(compgen -W "--format --java --proxy --ca-dir --placeholder --key-files $config" -- "$word") ;;
    k8s)
        mapfile -t COMPREPLY < <(compgen -W "deployment networkpolicy pdb job sidecar volumes redis podmonitor rules prometheusrule dashboard component policy helm \
            --name --container --image --sidekey-image --replicas $config" -- "$word")
        ;;
    doctor) mapfile -t COMPREPLY < <(compgen -W "--json --timeout -- $config" -- "$word") ;;
    status) mapfile -t COMPREPLY < <(compgen -W "--json --watch --admin $config" -- "$word") ;;
    healthcheck) mapfile -t COMPREPLY < <(compgen -W "--admin $config" -- "$word") ;;
    login) mapfile -t COMPREPLY < <(compgen -W "--device --no-browser --timeout $(_sidekey_credentials) $config" -- "$word") ;;
    init)
        if [[ $word == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W '--name --output --help' -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" presets 2>/dev/null | awk '{print $1}')" -- "$word")
        fi
        ;;
    refresh | reset | logout) mapfile -t COMPREPLY < <(compgen -W "$(_sidekey_credentials) $config" -- "$word") ;;
    run) mapfile -t COMPREPLY < <(compgen -W "--layers --check --strict --isolate --guard --allow-local --linger --placeholder --java --verbose -- $config" -- "$word") ;;
    ca) mapfile -t COMPREPLY < <(compgen -W "show rotate --now $config" -- "$word") ;;
    version) mapfile -t COMPREPLY < <(compgen -W '--verbose --help' -- "$word") ;;
    help) mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word") ;;
    why)
        if [[ $word == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "-H --header $config" -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -W 'GET POST PUT PATCH DELETE HEAD OPTIONS' -- "$word")
        fi
        ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$config" -- "$word") ;;
    esac
}

complete -F _sidekey sidekey
