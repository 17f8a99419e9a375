/** How hard a password is to guess. */
export interface Strength {
  /** 0 to 4: within 10^3, 10^6, 10^8, 10^10 guesses, or more */
  readonly score: 0 | 1 | 2 | 3 | 4;
  readonly guesses: number;
  /** what makes it weak, and how to make it better: sentences in English */
  readonly advice: readonly string[];
}

type Estimator = typeof import('@zxcvbn-ts/core')['ZxcvbnFactory']['prototype'];
let estimator: Promise<Estimator> | undefined;

/** Loads zxcvbn's word lists, once and only when they are needed: they are larger than all the rest. */
async function load(): Promise<Estimator> {
  const [{ ZxcvbnFactory }, common, english] = await Promise.all([
    import('@zxcvbn-ts/core'),
    import('@zxcvbn-ts/language-common'),
    import('@zxcvbn-ts/language-en'),
  ]);
  return new ZxcvbnFactory({
    dictionary: { ...common.dictionary, ...english.dictionary },
    graphs: common.adjacencyGraphs,
    translations: english.translations,
  });
}

/**
 * Estimates a password with zxcvbn.
 * @param known words that a guesser would try first, such as the person's name or the app's
 */
export async function passwordStrength(password: string, known: readonly string[] = []): Promise<Strength> {
  estimator ??= load().catch((error: unknown) => {
    // The next call tries again, for example when the network is back.
    estimator = undefined;
    throw error;
  });
  const { score, guesses, feedback } = (await estimator).check(password, [...known]);
  const advice = [feedback.warning, ...feedback.suggestions].filter((text): text is string => Boolean(text));
  return { score, guesses, advice };
}
