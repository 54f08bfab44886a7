# Completion of sipmi for fish: sipmi completion fish | source, or this as ~/.config/fish/completions/sipmi.fish
function __sipmi_complete
    set -l words (commandline -opc)
    for choice in ($words[1] __complete -- $words[2..] (commandline -ct) 2>/dev/null)
        switch $choice
            case ':files*'
                __fish_complete_path (commandline -ct)
            case ':directories*'
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $choice
        end
    end
end
complete -c sipmi -f -a '(__sipmi_complete)'
