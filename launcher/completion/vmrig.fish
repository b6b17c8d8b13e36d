# Completion of vmrig's words in fish. All that it offers comes from `vmrig complete`.
function __vmrig_complete
    set -l typed (commandline -opc)
    set -l last "$(commandline -ct)"
    for line in (command $typed[1] complete $typed[2..-1] "$last" 2>/dev/null)
        if string match -q ':files *' -- $line; or string match -q ':folders *' -- $line
            set -l before (string replace -r '^:[a-z]+ ' '' -- $line)
            set -l path (string sub -s (math 1 + (string length -- "$before")) -- "$last")
            if string match -q ':files *' -- $line
                __fish_complete_path "$path" | string replace -r '^' -- "$before"
            else
                __fish_complete_directories "$path" '' | string replace -r '^' -- "$before"
            end
        else
            echo -- $line
        end
    end
end
complete -c vmrig -f -a '(__vmrig_complete)'
