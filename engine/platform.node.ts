/** What differs between Node and browsers; the twin of platform.browser.ts, chosen by package.json's `imports`. */
export const platform = 'node' as const
