/** What differs between browsers and Node; the twin of platform.node.ts, chosen by package.json's `imports`. */
export const platform = 'browser' as const
