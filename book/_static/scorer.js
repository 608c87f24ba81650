// How the search ranks what it finds: the chapter that explains a word before the glossary that defines it.
var Scorer = {
  score: ([page, title, anchor, description, score]) => (/appendix\/(glossary|notation|bibliography)$/.test(page) ? score - 70 : score),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: {0: 15, 1: 5, 2: -5},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
