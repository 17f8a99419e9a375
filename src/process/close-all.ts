/** Closes one after the other. One that fails keeps none of the others open. @param onFailure is told of each that fails */
export async function closeAll(
  closing: Iterable<() => Promise<void>>,
  onFailure: (error: Error) => void,
): Promise<void> {
  for (const close of closing)
    try {
      await close();
    } catch (error) {
      onFailure(error as Error);
    }
}
