"What tests share and do not change, made when the first of them asks for it."
import functools


def made_once(make, home):
    "A function of a variant that calls make(variant, folder) once for each, with a folder of its own in home."
    @functools.cache
    def made(variant):
        return make(variant, home / variant.replace(' ', '-'))
    return made
