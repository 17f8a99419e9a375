/**
 * Backups and prunes of one repository as small machines that take one step of the storage at a time, and a
 * search through every order of their steps (docs/formats/backup.md, "Several writers"). This includes a stop
 * at any step: the others then go on alone. What must hold is checked after every step.
 */

/** The content of the storage. Names of parts are content and variant: `a0`. */
export interface World {
  parts: string[];
  /** the parts that each snapshot names, by its name */
  snapshots: Record<string, string[]>;
  claims: Record<string, string[]>;
  marks: Record<string, string[]>;
  machines: Machine[];
}

interface Machine {
  kind: Kind;
  id: string;
  /** the next step, `end` when there is none */
  at: string;
  round: number;
  /** what it remembers */
  tainted: string[];
  there: string[];
  named: string[];
}

export type Kind = 'backup' | 'prune' | 'old backup' | 'old prune';
type Step = (world: World, self: Machine, content: string) => string;

/** Ways to get the protocol wrong; the search must find each. */
export interface Faults {
  /** the claim is written after the marks were read */
  readonly claimLate?: boolean;
  /** a prune lists snapshots before claims */
  readonly snapshotsFirst?: boolean;
  /** marked names are used like others */
  readonly reuseMarked?: boolean;
  /** a prune deletes what it found superfluous before it wrote the mark, without looking again */
  readonly sweepBlindly?: boolean;
  /** the claim is deleted before the snapshot is there */
  readonly claimGoesEarly?: boolean;
}

const add = (names: string[], name: string) => void (names.includes(name) || names.push(name));
const all = (of: Record<string, string[]>): string[] => Object.values(of).flat();
const ROUNDS = 3;

function machines(faults: Faults): Record<Kind, Record<string, Step>> {
  const usable = (self: Machine, name: string) => faults.reuseMarked || !self.tainted.includes(name);
  const wanted = (self: Machine, content: string): string => {
    for (let variant = 0; ; variant++) if (usable(self, content + variant)) return content + variant;
  };
  const claim: Step = (world, self) => {
    world.claims[self.id] = [...self.named];
    return faults.claimLate ? 'publish' : 'read marks again';
  };
  const backup: Record<string, Step> = {
    'read marks': (world, self) => {
      self.tainted = all(world.marks);
      return 'list parts';
    },
    'list parts': (world, self, content) => {
      self.there = [...world.parts];
      self.named = [wanted(self, content)];
      return self.there.includes(self.named[0] as string) ? afterStored : 'store';
    },
    store: (world, self) => {
      add(world.parts, self.named[0] as string);
      return afterStored;
    },
    claim,
    'read marks again': (world, self) => {
      self.tainted = all(world.marks);
      return 'list parts again';
    },
    'list parts again': (world, self) => {
      const sound = self.named.every((name) => world.parts.includes(name) && usable(self, name));
      if (sound) return faults.claimLate ? 'claim' : faults.claimGoesEarly ? 'unclaim early' : 'publish';
      self.round++;
      return self.round < ROUNDS ? 'read marks' : 'unclaim';
    },
    'unclaim early': (world, self) => {
      delete world.claims[self.id];
      return 'publish';
    },
    publish: (world, self) => {
      world.snapshots[self.id] = [...self.named];
      return 'unclaim';
    },
    unclaim: (world, self) => {
      delete world.claims[self.id];
      return 'end';
    },
  };
  const afterStored = faults.claimLate ? 'read marks again' : 'claim';

  const listClaims =
    (then: string): Step =>
    (world, self) => {
      for (const name of all(world.claims)) add(self.named, name);
      return then;
    };
  const listSnapshots =
    (then: string): Step =>
    (world, self) => {
      for (const name of all(world.snapshots)) add(self.named, name);
      return then;
    };
  const listBoth = (first: string, second: string, then: string): Record<string, Step> =>
    faults.snapshotsFirst
      ? { [first]: listSnapshots(second), [second]: listClaims(then) }
      : { [first]: listClaims(second), [second]: listSnapshots(then) };
  const prune: Record<string, Step> = {
    ...listBoth('list', 'list more', 'find'),
    find: (world, self) => {
      self.there = world.parts.filter((name) => !self.named.includes(name));
      return self.there.length > 0 ? 'mark' : 'end';
    },
    mark: (world, self) => {
      world.marks[self.id] = [...self.there];
      if (faults.sweepBlindly) return 'sweep';
      self.named = [];
      return 'list again';
    },
    ...listBoth('list again', 'list more again', 'sweep'),
    // One part a step, so that others can come between.
    sweep: (world, self) => {
      const name = self.there.shift();
      if (name === undefined) return 'end';
      if (!self.named.includes(name)) world.parts = world.parts.filter((part) => part !== name);
      return 'sweep';
    },
  };
  const oldBackup: Record<string, Step> = {
    ask: (world, self, content) => {
      self.named = [`${content}0`];
      return world.parts.includes(`${content}0`) ? 'publish' : 'store';
    },
    store: (world, self) => {
      add(world.parts, self.named[0] as string);
      return 'publish';
    },
    publish: (world, self) => {
      world.snapshots[self.id] = [...self.named];
      return 'end';
    },
  };
  const oldPrune: Record<string, Step> = {
    list: listSnapshots('find'),
    find: (world, self) => {
      self.there = world.parts.filter((name) => !self.named.includes(name));
      return 'sweep';
    },
    sweep: (world, self) => {
      const name = self.there.shift();
      if (name === undefined) return 'end';
      world.parts = world.parts.filter((part) => part !== name);
      return 'sweep';
    },
  };
  return { backup, prune, 'old backup': oldBackup, 'old prune': oldPrune };
}

const FIRST: Record<Kind, string> = {
  backup: 'read marks',
  prune: 'list',
  'old backup': 'ask',
  'old prune': 'list',
};

/**
 * Machines side by side. Every backup has the content `a`, whose part is there from a snapshot that is gone.
 */
export function world(kinds: readonly Kind[]): World {
  return {
    parts: ['a0'],
    snapshots: {},
    claims: {},
    marks: {},
    machines: kinds.map((kind, i) => ({
      kind,
      id: `${kind} ${i}`,
      at: FIRST[kind],
      round: 0,
      tainted: [],
      there: [],
      named: [],
    })),
  };
}

/** What must hold after each step: every part that a finished snapshot names is there. */
const broken = ({ snapshots, parts }: World): boolean => all(snapshots).some((name) => !parts.includes(name));

export interface Search {
  /** how many different states there are */
  readonly states: number;
  /** the steps that lead to a snapshot without its part, when some do */
  readonly failure: string[] | undefined;
  /** states in which nothing is left to do */
  readonly ends: World[];
}

/** Goes through every order of steps. */
export function explore(start: World, faults: Faults = {}): Search {
  const steps = machines(faults);
  const seen = new Set<string>();
  const ends: World[] = [];
  const stack: { world: World; path: string[] }[] = [{ world: start, path: [] }];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { world, path } = next;
    const key = JSON.stringify(world);
    if (seen.has(key)) continue;
    seen.add(key);
    if (broken(world)) return { states: seen.size, failure: path, ends };
    const running = world.machines.filter(({ at }) => at !== 'end');
    if (running.length === 0) ends.push(world);
    for (const { id, at, kind } of running) {
      const after = structuredClone(world);
      const self = after.machines.find((machine) => machine.id === id) as Machine;
      self.at = (steps[kind][at] as Step)(after, self, 'a');
      stack.push({ world: after, path: [...path, `${id}: ${at}`] });
    }
  }
  return { states: seen.size, failure: undefined, ends };
}
