"""What the drawn people say: endless sentences from word lists in five languages."""

import numpy as np

_WORDS = {
    "en": """
    maybe people my brother our teacher the farmer every pilot some children the woman both players your father the
    baker many friends nobody the captain this village poor Pamela /
    moved bought found paid for watched brought followed played with painted kept borrowed wrapped forgot shaped
    picked measured opened chased should move will buy cannot find loves remembers /
    five big blue seven warm purple the famous a pretty that broken those quiet the yellow four brave the empty one
    heavy sixty bright the oldest a frozen the busy eight small /
    boats apples windows mountains books towers rivers maps shoes boxes horses lamps papers bridges vases pumpkins
    forks mice violins cheese songs beaches poems /
    before breakfast above the valley behind my house on Monday over the bridge from Paris with both hands after the
    show near the harbour without them beside the fire for years""",
    "de": """
    meine Mutter der Bäcker unser Lehrer jeder Pilot viele Freunde die Familie mein Bruder diese Frau niemand der
    alte Bauer euer Onkel /
    kauft findet bewegt malt vergisst probiert bringt öffnet braucht verfolgt misst packt hebt baut /
    fünf blaue sieben warme viele große diese leeren acht schöne bunte vier müde neue zwölf runde /
    Boote Äpfel Fenster Berge Bücher Pflaumen Brücken Schuhe Lampen Pferde Bäume Vögel Puppen Wolken /
    vor dem Frühstück über dem Tal am Montag ohne Mühe bei uns im Hafen für immer mit beiden Händen am Abend""",
    "fr": """
    ma mère le boulanger notre ami chaque pilote les enfants mon frère cette femme personne beaucoup le vieux paysan
    votre oncle /
    trouve achète oublie prépare apporte ouvre porte mesure peint cherche garde demande lave /
    cinq petits sept beaux les vieux quatre grands ces pauvres huit jolis deux longs mes nouveaux /
    bateaux livres ponts chevaux papiers tableaux oiseaux fromages chapeaux jardins poèmes moutons /
    avant midi sur la montagne avec plaisir dans le port après la pluie sans bruit pour toujours vers Paris""",
    "es": """
    mi madre el panadero nuestro amigo cada piloto muchos niños la familia mi hermano esta mujer nadie el viejo
    pastor vuestro tío /
    compra encuentra olvida prepara mueve abre busca mide pinta lleva guarda pide lava /
    cinco grandes siete viejos los famosos cuatro pequeños muchos buenos ocho verdes dos limpios /
    barcos libros puentes caballos papeles zapatos pájaros mapas quesos árboles poemas sombreros /
    antes del viaje sobre la montaña con mucho gusto en el puerto por la mañana sin problemas para siempre""",
    "it": """
    mia madre il fornaio nostro zio ogni pilota molti bambini la famiglia mio fratello questa donna nessuno il
    vecchio pastore /
    compra trova dimentica prepara muove apre cerca misura dipinge porta guarda chiede lava /
    cinque grandi sette vecchi tre famosi quattro piccoli molti buoni otto verdi due puliti /
    libri ponti cavalli fogli uccelli formaggi alberi cappelli gatti fiumi palazzi violini /
    prima di pranzo sopra la montagna con molto piacere nel porto dopo la pioggia senza fretta per sempre""",
}
"""language -> slots of a sentence: who, does, which, what, where; with a slash between slots, spoken in that order."""


def draw_words(rng: np.random.Generator, language: str, num_words: int) -> list[str]:
    """``num_words`` words of ``language`` (its first two letters count), sentence after sentence.

    Words are drawn one or two at a time from each slot, so grammar is loose on purpose: what matters is
    that sounds follow each other in ever new order.
    """
    slots = [slot.split() for slot in _WORDS[language[:2]].split("/")]
    words: list[str] = []
    while len(words) < num_words:
        for slot in slots:
            first = int(rng.integers(len(slot) - 1))
            words += slot[first : first + int(rng.integers(1, 3))]
    return words[:num_words]
