# shellcheck shell=bash
# Completion of vmrig's words in bash. All that it offers comes from `vmrig complete`.
_vmrig() {
  local words=() word blank rest=${COMP_LINE:0:COMP_POINT} index
  # bash has broken words at = : and @, too: put together what stands together on the line.
  for ((index = 0; index <= COMP_CWORD; ++index)); do
    blank=${rest%%[![:blank:]]*}
    rest=${rest#"$blank"}
    word=${COMP_WORDS[index]}
    [ "$index" != "$COMP_CWORD" ] || word=$rest
    if [ "$index" = 0 ] || [ -n "$blank" ]; then words+=("$word"); else words[-1]+=$word; fi
    rest=${rest#"$word"}
  done
  local last=${words[-1]} breaks='' character
  for character in = :; do
    [[ $COMP_WORDBREAKS != *"$character"* ]] || breaks+=$character
  done
  # What stands before the part that bash replaces; an @ belongs to that.
  local kept=''
  [ -z "$breaks" ] || kept=${last%"${last##*[$breaks]}"}
  for index in "${!words[@]}"; do
    # shellcheck disable=SC2088  # a tilde that nobody has expanded
    [[ ${words[index]} != '~/'* ]] || words[index]=$HOME/${words[index]#'~/'}
  done

  local line path paths='' before='' found=()
  while IFS= read -r line; do
    case $line in
      ':files '*) paths=-f before=${line#:files } ;;
      ':folders '*) paths=-d before=${line#:folders } ;;
      *) found+=("${line%%$'\t'*}") ;;
    esac
  done < <("${words[@]:0:1}" complete "${words[@]:1}" 2>/dev/null)
  COMPREPLY=()
  if [ -n "$paths" ]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r path; do
      path=$before$path
      COMPREPLY+=("${path#"$kept"}")
    done < <(compgen "$paths" -- "${last#"$before"}")
    return
  fi
  compopt -o nospace 2>/dev/null
  for word in "${found[@]}"; do
    # More of the word may follow.
    [[ $word == *[=.,@] ]] || word+=' '
    COMPREPLY+=("${word#"$kept"}")
  done
}
complete -F _vmrig vmrig
