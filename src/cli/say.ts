/** Prints a line. */
export type Say = (text: string) => void;

export const say: Say = (text) => {
  process.stdout.write(`${text}\n`);
};
