import { Argument, type Command } from 'commander';
import { say } from '../say.js';

/** What may follow a command: `bkv key` is followed by its commands, `bkv key new` by options. */
interface Place {
  /** the words after `bkv` that lead here */
  readonly path: string;
  readonly commands: readonly string[];
  readonly options: readonly string[];
  /** options whose value is the next word */
  readonly valued: readonly string[];
  /** by option, or `''` for the arguments: the allowed words */
  readonly choices: ReadonlyMap<string, readonly string[]>;
}

function placesOf(command: Command, path = ''): Place[] {
  const choices = new Map<string, readonly string[]>();
  for (const { long, argChoices } of command.options) if (long && argChoices) choices.set(long, argChoices);
  const ofArguments = command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices);
  if (ofArguments.length > 0) choices.set('', ofArguments);
  const place: Place = {
    path,
    commands: command.commands.map((below) => below.name()),
    options: [...command.options.flatMap(({ long }) => long ?? []), '--help'],
    valued: command.options.filter(({ required }) => required).flatMap(({ long }) => long ?? []),
    choices,
  };
  return [place, ...command.commands.flatMap((below) => placesOf(below, `${path} ${below.name()}`.trim()))];
}

const perPlace = (places: readonly Place[], line: (place: Place) => string): string =>
  places.map((place) => `    '${place.path}') ${line(place)} ;;`).join('\n');

/** `option:place` and the allowed words of the option; other values are files. */
const choiceCases = (places: readonly Place[]): string =>
  places
    .flatMap(({ path, choices }) =>
      [...choices].map(([option, words]) => `    '${option}:${path}') words='${words.join(' ')}' ;;`),
    )
    .join('\n');

/** Follows the words to a place, as `bkv` does, and offers what may follow. */
const bash = (places: readonly Place[]): string => `_bkv() {
  local current=\${COMP_WORDS[COMP_CWORD]} place= option= words= commands= options= valued= i
  _bkv_at() {
    case "$place" in
${perPlace(places, ({ commands, options, valued }) => `commands='${commands.join(' ')}' options='${options.join(' ')}' valued='${valued.join(' ')}'`)}
    esac
  }
  _bkv_at
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ -n $option ]]; then option=
    elif [[ " $valued " == *" \${COMP_WORDS[i]} "* ]]; then option=\${COMP_WORDS[i]}
    elif [[ " $commands " == *" \${COMP_WORDS[i]} "* ]]; then place="\${place:+$place }\${COMP_WORDS[i]}"; _bkv_at
    fi
  done
  case "$option:$place" in
${choiceCases(places)}
  esac
  if [[ -z $option && $current == -* ]]; then words=$options
  elif [[ -z $option && -n $commands ]]; then words=$commands
  fi
  COMPREPLY=()
  [[ -z $words ]] || COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o bashdefault -o default -F _bkv bkv
`;

/** The same function: zsh runs it through bashcompinit. */
const zsh = (places: readonly Place[]): string => `autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
${bash(places).replace('complete -o bashdefault', 'complete')}`;

const fish = (places: readonly Place[]): string => `function __bkv_at
  set -l place
  set -l option
  for word in (commandline -opc)[2..]
    if test -n "$option"
      set option
      continue
    end
    switch "$place:$word"
${places.flatMap(({ path, valued }) => valued.map((option) => `      case '${path}:${option}'\n        set option $word`)).join('\n')}
${places.flatMap(({ path, commands }) => commands.map((name) => `      case '${path}:${name}'\n        set place '${`${path} ${name}`.trim()}'`)).join('\n')}
    end
  end
  test "$place" = "$argv[1]"
end
${places.map(fishPlace).join('\n')}
`;

function fishPlace({ path, commands, options, valued, choices }: Place): string {
  const at = `complete -c bkv -n "__bkv_at '${path}'"`;
  const value = (option: string): string => {
    const words = choices.get(option);
    if (words) return ` -x -a '${words.join(' ')}'`;
    return valued.includes(option) ? ' -r' : '';
  };
  const words = [...commands, ...(choices.get('') ?? [])];
  return [
    ...(words.length > 0 ? [`${at} -f -a '${words.join(' ')}'`] : []),
    ...options.map((option) => `${at} -l ${option.slice(2)}${value(option)}`),
  ].join('\n');
}

const SHELLS = { bash, zsh, fish };

export function completionCommand(program: Command): void {
  program
    .command('completion')
    .description(
      'print a script that makes a shell complete commands and options: source <(bkv completion bash), or bkv completion fish | source',
    )
    .addArgument(new Argument('<shell>', 'which shell').choices(Object.keys(SHELLS)))
    .action((shell: keyof typeof SHELLS) => say(SHELLS[shell](placesOf(program)).trimEnd()));
}
