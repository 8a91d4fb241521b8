# Ends the hook that may still run in this container, then becomes the next one: its arguments. Without any it only ends it.
# A hook is known by its environment: TRAY_HOOK holds the process id of its first process. Shell built-ins and `sleep` alone are
# used, and what the hook prints goes nowhere.
echo tray-hook

# Sets `hook` to the first process of the hook that process $1 is of; empty = of none.
hook_of() {
  hook=
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in *'TRAY_HOOK=<'*'>'*) hook=${line##*'TRAY_HOOK=<'} hook=${hook%%'>'*} ;; esac
  done <"/proc/$1/environ"
} 2>/dev/null

# What a hook that has ended left behind on purpose is let be: only those whose first process lives.
former=' '
for process in /proc/[0-9]*; do
  process=${process#/proc/}
  hook_of "$process"
  [ "$hook" = "$process" ] && former="$former$process "
done

signal=TERM tries=0 living=$former
while [ "$living" != ' ' ]; do
  living=' '
  for process in /proc/[0-9]*; do
    process=${process#/proc/}
    hook_of "$process"
    case $former in *" ${hook:-none} "*) living="$living$process " && kill "-$signal" "$process" ;; esac
  done 2>/dev/null
  [ "$living" = ' ' ] && break
  tries=$((tries + 1))
  [ "$tries" -gt 10 ] && signal=KILL
  [ "$tries" -gt 20 ] && exit 1
  sleep 1
done

echo tray-hook-runs
[ "$#" -eq 0 ] && exit 0
export TRAY_HOOK="<$$>"
exec "$@" >/dev/null 2>&1
