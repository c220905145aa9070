/** What layers check of the numbers and words they are made with, before any variable is drawn. */
import { ConfigError } from '../engine/index.ts'

/** Throws ConfigError unless `word` is one that the option may have; `or` names what else it takes. */
export function checkWord(op: string, option: string, word: string, words: readonly string[], or = ''): void {
  if (!words.includes(word)) throw new ConfigError(`${op}: ${option} is "${word}"; use ${words.slice(0, -1).join(', ')} or ${String(words.at(-1))}${or}`)
}

/** How many of `count` things one of equal groups has; ConfigError where they do not divide. */
export function share(op: string, what: string, count: number, groups: number): number {
  if (!Number.isInteger(groups) || groups < 1 || count % groups !== 0) throw new ConfigError(`${op}: ${count} ${what} do not divide into ${groups} groups; choose groups that divide ${count}`)
  return count / groups
}
