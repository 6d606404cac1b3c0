// A small virtual DOM: plain descriptions of elements, and one function that makes the document match them.
// A view returns h(…); `patch` changes only what differs, so focus, scroll and running transitions survive every state.

const SVG = "http://www.w3.org/2000/svg";

/** Describes one element. Attributes whose value is null, undefined or false are left out; `onClick` is the click handler. */
export function h(tag, attributes = {}, ...children) {
  const { key = attributes.id, onClick, ...rest } = attributes;
  return { tag, key, onClick, attributes: rest, children: children.flat(Infinity).filter(isShown).map(asNode) };
}

/** Makes the children of `parent` match `nodes`. */
export function patch(parent, nodes) {
  const wanted = [nodes].flat(Infinity).filter(isShown).map(asNode);
  const keyed = new Map();
  for (const child of parent.childNodes) if (child.__key) keyed.set(child.__key, child);
  let here = parent.firstChild;
  for (const node of wanted) {
    const candidate = node.key ? keyed.get(node.key) : here;
    const fits = candidate && candidate.parentNode === parent && sameKind(candidate, node);
    const element = fits ? candidate : create(node, parent);
    if (element !== here) parent.insertBefore(element, here);
    update(element, node);
    here = element.nextSibling;
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

const isShown = (node) => node !== null && node !== undefined && node !== false && node !== "";
const asNode = (node) => (typeof node === "object" ? node : { text: String(node) });

function sameKind(existing, node) {
  if (node.text !== undefined) return existing.nodeType === Node.TEXT_NODE;
  return existing.nodeType === Node.ELEMENT_NODE && existing.localName === node.tag && existing.__key === node.key;
}

function create(node, parent) {
  if (node.text !== undefined) return document.createTextNode("");
  const inSvg = node.tag === "svg" || parent.namespaceURI === SVG;
  const element = inSvg ? document.createElementNS(SVG, node.tag) : document.createElement(node.tag);
  element.__key = node.key;
  element.addEventListener("click", (event) => element.__onClick?.(event));
  return element;
}

function update(existing, node) {
  if (node.text !== undefined) {
    if (existing.data !== node.text) existing.data = node.text;
    return;
  }
  existing.__onClick = node.onClick;
  for (const { name } of [...existing.attributes]) {
    if (!isSet(node.attributes[name])) existing.removeAttribute(name);
  }
  for (const [name, value] of Object.entries(node.attributes)) {
    const text = value === true ? "" : String(value);
    if (isSet(value) && existing.getAttribute(name) !== text) existing.setAttribute(name, text);
  }
  patch(existing, node.children);
}

const isSet = (value) => value !== null && value !== undefined && value !== false;
