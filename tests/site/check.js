// What is wrong with the open page in a window of a width: one line each.
// `innerWidth` grows on a telephone that shows too wide a page.
const width = arguments[0], found = [], main = document.querySelector('main') || document.body, inside = (e, s) => e.closest(s);
if (!document.title) found.push('no title');
if (!document.documentElement.lang) found.push('no language');
if (document.documentElement.scrollWidth > width) found.push(`overflow: ${document.documentElement.scrollWidth} pixels wide`);
const scrolls = e => e && e !== main && (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
for (const e of main.querySelectorAll('*'))
    if (e.getBoundingClientRect().right > width + 1 && !inside(e, '.katex') && !scrolls(e)) found.push(`overflow: ${e.tagName} ${e.textContent.slice(0, 40)}`);
for (const i of document.images) {
    if (!i.hasAttribute("alt")) found.push(`no alt text: ${i.src.slice(0, 60)}`);
    if (!i.naturalWidth) found.push(`no picture: ${i.src.slice(0, 60)}`);
}
for (const m of document.querySelectorAll('.math')) if (!m.querySelector('.katex')) found.push(`formula not typeset: ${m.textContent}`);
for (const m of document.querySelectorAll('.katex-error')) found.push(`formula not understood: ${m.textContent}`);
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
    const t = texts.currentNode, e = t.parentElement;
    const raw = inside(e, 'script, style, .katex') ? null : inside(e, 'pre, code') ? inside(e, '.cell pre') && t.data.match(/^(#\||%%\w).*/m) : t.data.match(/#\|.*|:::.*|\$\$.*|\\[[(].*|\{[.#][^}]*\}|%%\w.*/);
    if (raw) found.push(`raw: ${raw[0]}`);
}
for (const r of performance.getEntriesByType('resource'))
    if (!r.name.startsWith(location.origin) && !/^(data|blob):/.test(r.name)) found.push(`another host: ${r.name}`);
return found;
