"""Words that ask for the same, as groups of base forms; the first of each stands for all. Written for this project.

A group belongs here only if a picture or an answer for one word serves for every other. Sisters (cat, dog), parents (animal)
and shades of strength (big, gigantic) are not the same.
"""

from __future__ import annotations

_GROUPS = """
big large
small little tiny
huge enormous gigantic
sofa couch
bicycle bike
motorcycle motorbike
photo photograph
movie film
sunset sundown
mother mom mum
father dad
grandmother grandma
grandfather grandpa
child kid
baby infant
teenager teen
woman lady
man guy
person individual
television tv
refrigerator fridge
car automobile
airplane plane
spaceship spacecraft
happy glad joyful delighted
sad unhappy
cute adorable
strange weird odd peculiar
toss throw
hang dangle
scary frightening
rich wealthy
quick fast rapid
quickly rapidly swiftly
speak talk
begin start
buy purchase
jump leap hop
look gaze stare
sleep asleep
rug carpet
trash garbage rubbish
rabbit bunny
picture image pic
closed shut
fix repair
help assist
lawyer attorney
doctor physician
reduce decrease
night nighttime
day daytime
center middle
colorful multicolored multicolor
beautiful gorgeous
entire whole
allow permit
choose select
build construct
trousers pants
truck lorry
donut doughnut
gold golden
wood wooden
delicious tasty
afraid scared
forest woods
sunrise sunup
application app
mathematics math maths
info information
advertisement advert ad
exam examination
lab laboratory
gym gymnasium
vs versus
usa america
uk britain
remove delete
blond blonde
cat feline
dog canine
closeup close-up
between betwixt
ok okay
"""

CANONICAL: dict[str, str] = {
    word: group[0] for group in (line.split() for line in _GROUPS.split("\n") if line) for word in group
}
